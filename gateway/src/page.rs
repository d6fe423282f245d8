//! The pages, carried in the binary: plain files, served as they are.

use axum::Router;
use axum::http::header;
use axum::middleware;
use axum::response::{Redirect, Response};
use axum::routing::get;
use include_dir::{Dir, File, include_dir};

use crate::guard::SECURITY_HEADERS;

static CONSOLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/console");
static STAFF: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/staff");
static GAME: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../clients/web/page");
static GAME_CLIENT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../clients/web/client");

/// The console's page at `/`.
pub(crate) fn console<S: Clone + Send + Sync + 'static>() -> Router<S> {
    routes(&CONSOLE, "/")
}

/// The staff pages at `/console/`, with headers that let them load and ask nothing but what comes from the same port.
pub fn staff<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let icon = CONSOLE.get_file("icon.svg").expect("the console has an icon");
    let headers = middleware::map_response(async |mut response: Response| {
        response.headers_mut().extend(SECURITY_HEADERS);
        response
    });
    routes(&STAFF, "/console/")
        .merge(route("/console/icon.svg", icon))
        .route("/console", get(async || Redirect::permanent("/console/")))
        .layer(headers)
}

/// The playable page at `/`, and the client that it is made with at `/client/`.
pub(crate) fn game<S: Clone + Send + Sync + 'static>() -> Router<S> {
    routes(&GAME, "/").merge(routes(&GAME_CLIENT, "/client/"))
}

/// A route for each file of a page, and the prefix itself for its index.
fn routes<S: Clone + Send + Sync + 'static>(folder: &'static Dir<'_>, prefix: &str) -> Router<S> {
    folder.files().fold(Router::new(), |router, file| {
        let name = file.path().display().to_string();
        let path = if name == "index.html" { prefix.to_owned() } else { format!("{prefix}{name}") };
        router.merge(route(&path, file))
    })
}

fn route<S: Clone + Send + Sync + 'static>(path: &str, file: &'static File<'_>) -> Router<S> {
    let answer = ([(header::CONTENT_TYPE, content_type(file))], file.contents());
    Router::new().route(path, get(move || std::future::ready(answer)))
}

fn content_type(file: &File) -> &'static str {
    match file.path().extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        // For editors of those who write a client of their own.
        Some("ts") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_type_and_asks_nothing_of_other_hosts() {
        assert!(CONSOLE.get_file("index.html").is_some() && GAME.get_file("index.html").is_some());
        for folder in [&CONSOLE, &STAFF, &GAME, &GAME_CLIENT] {
            assert_eq!(folder.dirs().count(), 0, "only files at the top are served");
        }
        for file in CONSOLE.files().chain(STAFF.files()).chain(GAME.files()).chain(GAME_CLIENT.files()) {
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
        let beside = |folder: &'static Dir<'_>| {
            move |name: &str| name.is_empty() || name == "metrics" || folder.get_file(name).is_some()
        };
        let of_game = |name: &str| match name.strip_prefix("client/") {
            Some(name) => beside(&GAME_CLIENT)(name),
            None => beside(&GAME)(name),
        };
        let of_staff = |name: &str| match name.strip_prefix("console/") {
            Some(name) => name == "icon.svg" || beside(&STAFF)(name),
            None => false,
        };
        check(&CONSOLE, &beside(&CONSOLE), &beside(&CONSOLE));
        check(&STAFF, &of_staff, &beside(&STAFF));
        check(&GAME, &of_game, &beside(&GAME));
        check(&GAME_CLIENT, &of_game, &beside(&GAME_CLIENT));
    }

    /// Checks what the files of a folder name from the root, and what beside themselves.
    fn check(folder: &Dir<'_>, rooted: &dyn Fn(&str) -> bool, beside: &dyn Fn(&str) -> bool) {
        for file in folder.files() {
            let text = file.contents_utf8().unwrap();
            for (before, is_known) in
                [("from \"./", beside), ("from \"/", rooted), ("src=\"/", rooted), ("href=\"/", rooted)]
            {
                for rest in text.split(before).skip(1) {
                    let name = rest.split('"').next().unwrap();
                    assert!(is_known(name), "{} names {name}", file.path().display());
                }
            }
        }
    }
}
