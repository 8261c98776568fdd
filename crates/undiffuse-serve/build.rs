//! New files of the studio are compiled in, too.

fn main() {
    println!("cargo:rerun-if-changed=studio");
}
