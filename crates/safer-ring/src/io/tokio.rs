//! The traits of `tokio::io`.

use std::io::{self, IoSlice, SeekFrom};
use std::ops::Deref as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use safer_ring_backend::Mode;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};
use tokio::task::coop;

use super::{AsyncFile, AsyncStream, Readable, Writable};

// Each call takes part in tokio's budget, as those of tokio's own types do: a stream that is always ready does not keep
// the other tasks of its thread waiting.

macro_rules! reads {
    ($parameter:ident: $bound:ident, $type:ty) => {
        impl<$parameter: $bound> AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let budget = ready!(coop::poll_proceed(cx));
                let want = buf.remaining();
                let taken =
                    ready!(self.get_mut().poll_take(cx, want, |bytes| buf.put_slice(bytes)));
                budget.made_progress();
                Poll::Ready(taken.map(drop))
            }
        }

        impl<$parameter: $bound> AsyncBufRead for $type {
            fn poll_fill_buf(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<&[u8]>> {
                let budget = ready!(coop::poll_proceed(cx));
                let filled = ready!(self.get_mut().poll_fill(cx));
                budget.made_progress();
                Poll::Ready(filled)
            }

            fn consume(self: Pin<&mut Self>, amt: usize) {
                self.get_mut().take(amt);
            }
        }
    };
}
reads!(S: Readable, AsyncStream<S>);
reads!(M: Mode, AsyncFile<M>);

macro_rules! writes {
    ($parameter:ident: $bound:ident, $type:ty) => {
        impl<$parameter: $bound> AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                let budget = ready!(coop::poll_proceed(cx));
                let accepted = ready!(self.get_mut().poll_put(cx, std::iter::once(buf)));
                budget.made_progress();
                Poll::Ready(accepted)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let budget = ready!(coop::poll_proceed(cx));
                let parts = bufs.iter().map(IoSlice::deref);
                let accepted = ready!(self.get_mut().poll_put(cx, parts));
                budget.made_progress();
                Poll::Ready(accepted)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().poll_settle(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().poll_end(cx)
            }
        }
    };
}
writes!(S: Writable, AsyncStream<S>);
writes!(M: Mode, AsyncFile<M>);

impl<M: Mode> AsyncSeek for AsyncFile<M> {
    fn start_seek(self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        self.get_mut().start_seek_to(position);
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        self.get_mut().poll_sought(cx)
    }
}
