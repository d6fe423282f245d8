//! Rate, errors and duration of the HTTP API, by route.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::DurationHistogram;

/// Upper bounds of `vyuha_api_request_seconds`, in microseconds.
const BOUNDS_US: &[u64] = &[
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 10_000_000,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
}

/// What was asked of the API.
#[derive(Debug)]
pub struct ApiMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, DurationHistogram, fn() -> DurationHistogram>,
}

impl ApiMetrics {
    pub(super) fn new(registry: &mut Registry) -> ApiMetrics {
        let requests = Family::default();
        let help = "Requests answered by the HTTP API, by method, route and status";
        registry.register("api_requests", help, requests.clone());
        let seconds =
            Family::new_with_constructor((|| DurationHistogram::new(BOUNDS_US)) as fn() -> DurationHistogram);
        let help = "From a request's head to its answer, by method and route";
        registry.register_with_unit("api_request", help, Unit::Seconds, seconds.clone());
        ApiMetrics { requests, seconds }
    }

    /// Counts a request. `method` and `route` are of a bounded number: a path as the table of routes has it, not as it was
    /// asked for.
    pub fn observe(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        let labels = RouteLabels { method: method.clone(), route: route.clone() };
        self.seconds.get_or_create_owned(&labels).observe(took);
        self.requests.get_or_create_owned(&RequestLabels { method, route, status }).inc();
    }
}
