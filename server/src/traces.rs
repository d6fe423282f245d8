//! Traces: spans of HTTP requests, sign-ins and persistence batches, sent to a collector by OTLP over HTTP where one is configured.
//!
//! Only spans with the target [`TRACE_TARGET`] are sent; none of those is on a shard's thread, so that no tick ever makes one. They wait in
//! a queue of [`QUEUE_SPANS_MAX`] for a thread that sends them; what finds no room there is dropped. Of a collector that is away the log
//! tells once, and once when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use vyuha_store::TRACE_TARGET;

use crate::config::Config;

/// Spans that may wait to be sent; one takes about 1 KiB.
const QUEUE_SPANS_MAX: usize = 2048;
/// Spans of one request to the collector.
const BATCH_SPANS_MAX: usize = 512;
/// How long spans wait for others to go with them.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Where a collector takes spans, under its address.
const PATH: &str = "v1/traces";

/// The way to the collector. What waits is sent when it is dropped, for as long as [`TIMEOUT`].
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Begins, if the configuration names a collector. Not to be called within an asynchronous runtime.
    ///
    /// # Errors
    /// Where the address is no use.
    pub fn start(config: &Config) -> anyhow::Result<Option<Traces>> {
        let endpoint = config.telemetry.otlp_endpoint.trim_end_matches('/');
        if endpoint.is_empty() {
            return Ok(None);
        }
        let sent = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client()?)
            .with_endpoint(format!("{endpoint}/{PATH}"))
            .with_timeout(TIMEOUT)
            .build()
            .with_context(|| format!("telemetry.otlp_endpoint = {endpoint} cannot be used"))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS_MAX)
            .with_max_export_batch_size(BATCH_SPANS_MAX)
            .with_scheduled_delay(DELAY)
            .build();
        let exporter = Told { exporter: sent, is_away: AtomicBool::default() };
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let about = [
            KeyValue::new("service.version", crate::VERSION),
            KeyValue::new("service.instance.id", config.node.name.as_str().to_owned()),
        ];
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            // Whoever calls decides whether a trace that they began is kept.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_resource(Resource::builder().with_service_name("vyuha").with_attributes(about).build())
            .build();
        global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Some(Traces { provider }))
    }

    /// What makes spans of the program's own, and of no others.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer: SdkTracer = self.provider.tracer("vyuha");
        let ours = filter_fn(|about| about.is_span() && about.target() == TRACE_TARGET);
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(ours)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // What failed was told when it did.
        let _ = self.provider.shutdown_with_timeout(TIMEOUT);
    }
}

/// Sends requests, with the certificates that the system trusts.
fn client() -> anyhow::Result<reqwest::blocking::Client> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("the provider of TLS does not know the default versions")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::blocking::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("spans cannot be sent over HTTP")
}

/// An exporter that tells when the collector goes away, and when it is back.
#[derive(Debug)]
struct Told<E> {
    exporter: E,
    is_away: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        match &sent {
            Ok(()) if self.is_away.swap(false, Ordering::Relaxed) => {
                tracing::info!("the collector of telemetry.otlp_endpoint takes spans again");
            }
            Err(error) if !self.is_away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    %error,
                    "the collector of telemetry.otlp_endpoint takes no spans: they are dropped until it does"
                );
            }
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
