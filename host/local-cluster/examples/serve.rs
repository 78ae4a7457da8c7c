//! A cluster on loopback for kubectl: `cargo run -p tenure-local-cluster --example serve -- 8001 [data directory] > kubeconfig`.

use std::error::Error;
use std::io::Write;

use tenure_local_cluster::LocalCluster;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().as_deref().unwrap_or("0").parse()?;
    let mut builder = LocalCluster::builder();
    if let Some(directory) = arguments.next() {
        builder = builder.data(directory);
    }
    let cluster = builder.build()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    write!(std::io::stdout(), "{}", cluster.kubeconfig(listener.local_addr()?))?;
    std::io::stdout().flush()?;
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    cluster.serve(listener, interrupted).await?;
    Ok(())
}
