//! The console's page, carried in the binary: plain files, served as they are.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use include_dir::{Dir, File, include_dir};

static CONSOLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/console");

/// A route for each file of the page, and `/` for its index.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    CONSOLE.files().fold(Router::new(), |router, file| {
        let name = file.path().display().to_string();
        let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
        let answer = ([(header::CONTENT_TYPE, content_type(file))], file.contents());
        router.route(&path, get(move || std::future::ready(answer)))
    })
}

fn content_type(file: &File) -> &'static str {
    match file.path().extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_type_and_asks_nothing_of_other_hosts() {
        assert!(CONSOLE.get_file("index.html").is_some());
        assert_eq!(CONSOLE.dirs().count(), 0, "only files at the top are served");
        for file in CONSOLE.files() {
            let path = file.path().display();
            assert_ne!(content_type(file), "application/octet-stream", "{path}");
            let text =
                file.contents_utf8().expect("the page is text").replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http://", "https://", "src=\"//", "eval(", "style=\"", "onclick="] {
                assert!(!text.contains(foreign), "{path} holds {foreign}");
            }
        }
    }

    #[test]
    fn every_module_and_link_that_the_page_names_is_served() {
        for file in CONSOLE.files() {
            let text = file.contents_utf8().unwrap();
            for (before, after) in [("from \"./", "\""), ("src=\"/", "\""), ("href=\"/", "\"")] {
                for rest in text.split(before).skip(1) {
                    let name = rest.split(after).next().unwrap();
                    let known = name.is_empty() || name == "metrics" || CONSOLE.get_file(name).is_some();
                    assert!(known, "{} names {name}", file.path().display());
                }
            }
        }
    }
}
