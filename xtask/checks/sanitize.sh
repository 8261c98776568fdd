#!/usr/bin/env bash
# The kernels under tools that see what tests can't: Miri (portable code), the address sanitizer (AVX-512 or what the CPU has), and an
# aarch64 CPU in an emulator (NEON). Needs a nightly toolchain with miri and rust-src, the target aarch64-unknown-linux-gnu, and Debian's
# qemu-user and gcc-aarch64-linux-gnu.
#   xtask/checks/sanitize.sh [miri] [asan] [neon]      all three when none is named
set -euo pipefail
cd "$(dirname "$0")/../../crates/undiffuse-kernels"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../../target}/sanitize"

miri() {
    # The small test only: Miri is thousands of times slower. Isolation off lets the environment choose the SIMD level. Under stacked borrows
    # crossbeam-epoch, which rayon's threads use, is itself refused; its pool is never taken down, hence the leaks.
    MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-tree-borrows -Zmiri-ignore-leaks" UNDIFFUSE_SIMD=portable \
        cargo +nightly miri test --test small
}
asan() {
    RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --release --target x86_64-unknown-linux-gnu --tests
}
neon() {
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    # Tests that start themselves again at another level can't under the emulator; the second run is at that level.
    cargo test --release --target aarch64-unknown-linux-gnu --tests -- --skip at_lower_levels
    UNDIFFUSE_SIMD=portable cargo test --release --target aarch64-unknown-linux-gnu --tests -- --skip at_lower_levels
}
for check in "${@:-miri asan neon}"; do
    for name in $check; do "$name"; done
done
