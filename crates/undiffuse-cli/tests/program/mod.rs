//! The built program, as a person runs it.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs in `folder`, expects an exit code, and returns what was printed.
pub fn run(folder: &Path, code: i32, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undiffuse"));
    command.args(args).current_dir(folder).env("UNDIFFUSE_CACHE", folder.join("cache")).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "undiffuse {}\n{text}", args.join(" "));
    assert!(!text.contains("panicked"), "undiffuse {}\n{text}", args.join(" "));
    text
}
