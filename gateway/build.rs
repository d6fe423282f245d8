//! Builds the crate anew when a file is added to the page, which `include_dir!` alone would not notice.

fn main() {
    println!("cargo::rerun-if-changed=console");
}
