//! How fast the cluster is: ConfigMaps created through the tower service by many writers while watchers follow.
//!
//! `cargo run --release -p tenure-local-cluster --example throughput -- [writes] [writers] [watchers]`

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tenure_local_cluster::LocalCluster;
use tower::Service;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut number = |default| numbers.next().transpose().map(|given| given.unwrap_or(default));
    let (writes, writers, watchers) = (number(10_000)?, number(8)?, number(20)?);
    let cluster = LocalCluster::new();
    let mut following = tokio::task::JoinSet::new();
    for _ in 0..watchers {
        let request = Request::get(format!("{CONFIG_MAPS}?watch=1")).body(Full::new(Bytes::new()))?;
        let mut events = cluster.clone().call(request).await?.into_body();
        following.spawn(async move {
            let mut seen = 0;
            while seen < writes {
                let Some(Ok(frame)) = events.frame().await else { break };
                seen += frame.data_ref().map_or(0, |chunk| chunk.iter().filter(|byte| **byte == b'\n').count());
            }
        });
    }
    let begin = Instant::now();
    let mut writing = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let mut cluster = cluster.clone();
        writing.spawn(async move {
            for index in (writer..writes).step_by(writers) {
                let body =
                    format!("{{\"metadata\":{{\"name\":\"c{index}\"}},\"data\":{{\"k\":\"{}\"}}}}", "v".repeat(500));
                let request = Request::post(CONFIG_MAPS).body(Full::new(Bytes::from(body)));
                if let Ok(request) = request {
                    drop(cluster.call(request).await);
                }
            }
        });
    }
    writing.join_all().await;
    let written = begin.elapsed();
    following.join_all().await;
    let rate = writes as f64 / written.as_secs_f64();
    writeln!(
        std::io::stdout(),
        "{writes} creates by {writers} writers: {written:?}, {rate:.0}/s; seen by {watchers} watchers after {:?}",
        begin.elapsed()
    )?;
    Ok(())
}
