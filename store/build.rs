//! Embeds the migrations anew when one is added: `include_dir!` alone sees only changes of files.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
