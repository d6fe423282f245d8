//! Traces that go on from where a call came from, and on to where one goes (W3C Trace Context).

use axum::http::HeaderMap;
use opentelemetry::global;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Makes a span, before it is entered, a part of the trace that a request's headers name; of a new one where they name none that is
/// well formed.
pub(crate) fn go_on(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let parent = global::get_text_map_propagator(|format| format.extract(&HeaderExtractor(headers)));
    // A span that nobody sends has no place in a trace.
    let _ = span.set_parent(parent);
}

/// Gives a span another name, which may be known only once it goes on.
pub(crate) fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

/// Names the trace that the current span is a part of in the headers of a request that goes out.
pub(crate) fn hand_on(headers: &mut HeaderMap) {
    let span = Span::current();
    if !span.is_disabled() {
        global::get_text_map_propagator(|format| {
            format.inject_context(&span.context(), &mut HeaderInjector(headers));
        });
    }
}
