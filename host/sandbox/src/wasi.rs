//! WASI as far as it goes: clocks, random, io, poll, and standard output and error as log lines. Everything else a language's
//! runtime may import is there and inert: no files, no sockets, no environment, no arguments.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView};

use crate::contract::Level;
use crate::log_budget::{LineStream, LogBudget};

/// Streams, pollables and the like one guest may hold at once; a leak ends as a trap of that guest.
const HANDLES_MAX: usize = 4096;
/// Random bytes in one call. Guests ask for a few dozen.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Bytes of standard output taken at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// The WASI state of one instance. Made when first asked for: most plugins never do.
pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    streams: [LineStream; 2],
}

impl Wasi {
    pub(crate) fn new(log: &Arc<LogBudget>) -> Self {
        let stdout = LineStream::new(Arc::clone(log), "stdout", Level::Info);
        let stderr = LineStream::new(Arc::clone(log), "stderr", Level::Warn);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let context = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self { context, table, streams: [stdout, stderr] }
    }

    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }

    /// Passes on what was written without a line end.
    pub(crate) fn end_lines(&self) {
        self.streams.iter().for_each(LineStream::end_line);
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(()) // lines go out whole; an unfinished one waits for its end, or for the call's
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
