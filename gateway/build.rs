//! Builds the crate anew when a file is added to a page, which `include_dir!` alone would not notice.

fn main() {
    for folder in ["console", "staff", "../clients/web/page", "../clients/web/client"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
