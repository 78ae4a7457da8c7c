//! The client that the election and the plugins' reads go through: kube's own layers over connections that send at once.
//! Knows no resource and no term.

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use tower::{BoxError, ServiceBuilder};

/// What `kube::Client::try_from` makes, with TCP_NODELAY and without its retries. Without TCP_NODELAY the first request on each new
/// connection waits behind the end of the TLS handshake until the server's delayed acknowledgement, 40 ms on Linux: the better
/// part of a handover, and again of the time from an election to the first reconcile, because both mostly need a new connection.
///
/// With a proxy it is kube's own, which knows how to use one.
///
/// # Errors
/// When certificates, credentials or headers in `config` cannot be used. Must be called in a tokio runtime.
pub fn client(mut config: kube::Config) -> Result<kube::Client, kube::Error> {
    // kube repeats a request on 429, 503 and 504 up to 15 times; who waits for an answer here decides that himself.
    config.default_retry = false;
    if config.proxy_url.is_some() {
        return kube::Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(kube::Client::new(service, config.default_namespace))
}
