//! A request's body. In one piece, unless a failpoint asks to stop between its halves.

#[cfg(not(feature = "failpoints"))]
pub(crate) type GateBody = http_body_util::Full<bytes::Bytes>;
#[cfg(feature = "failpoints")]
pub(crate) type GateBody = halved::HalvedBody;

#[cfg(not(feature = "failpoints"))]
pub(crate) fn body(bytes: bytes::Bytes) -> GateBody {
    GateBody::new(bytes)
}

#[cfg(feature = "failpoints")]
pub(crate) use halved::body;

#[cfg(feature = "failpoints")]
mod halved {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::{Body, Frame, SizeHint};

    use crate::failpoints::{Point, is_asked, reach};

    /// Two pieces with a pause between them, in which the connection writes the first to the kernel.
    #[derive(Debug)]
    pub(crate) struct HalvedBody {
        first: Bytes,
        second: Bytes,
        paused: bool,
    }

    pub(crate) fn body(mut bytes: Bytes) -> HalvedBody {
        let half = if is_asked(Point::HalfBody) { bytes.len() / 2 } else { bytes.len() };
        let first = bytes.split_to(half);
        HalvedBody { first, second: bytes, paused: false }
    }

    impl Body for HalvedBody {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let this = self.get_mut();
            if !this.first.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.first)))));
            }
            if this.second.is_empty() {
                return Poll::Ready(None);
            }
            if !this.paused {
                this.paused = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            reach(Point::HalfBody);
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.second)))))
        }

        fn is_end_stream(&self) -> bool {
            self.first.is_empty() && self.second.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact((self.first.len() + self.second.len()) as u64)
        }
    }
}
