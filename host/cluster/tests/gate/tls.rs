//! The same under TLS: the clocks are looked at below it, so not even a record's header leaves.

use std::sync::Arc;

use rcgen::generate_simple_self_signed;
use tenure_cluster::WriteError;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::peer::{OBJECT, SETTINGS, answer, gate, listen, read_request, replace};

#[tokio::test]
async fn under_tls_no_byte_leaves_after_the_term_closed() {
    let certified = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let (listener, address) = listen().await;
    let mut config = kube::Config::new(format!("https://{address}").parse().unwrap());
    config.root_cert = Some(vec![certificate.to_vec()]);
    let gate = gate(config, SETTINGS);
    let first = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(tcp).await.unwrap();
        let request = read_request(&mut stream).await;
        answer(&mut stream, 200, OBJECT).await;
        (stream, request)
    };
    let (written, (stream, request)) = tokio::join!(gate.writer.write(replace("{}")), first);
    assert_eq!(written.unwrap().version, Some(42));
    assert!(request.contains("timeout=12000ms"), "{request}");

    // Admission, checkout and stamp pass; the look before write(2) does not.
    gate.clock.allow(3);
    assert!(matches!(gate.writer.write(replace("{}")).await, Err(WriteError::Closed { .. })));
    assert_eq!(gate.writer.stats().refused_late, 1, "refused before it came to the socket");
    let (mut tcp, _) = stream.into_inner();
    let mut piece = [0; 64];
    let read = tcp.read(&mut piece).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?} bytes came");
}
