//! A file that is added to the studio is a reason to build again; that one has changed, the compiler sees by itself.

fn main() {
    println!("cargo::rerun-if-changed=studio");
}
