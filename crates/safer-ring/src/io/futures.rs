//! The traits of `futures-io`.

use std::io::{self, IoSlice, SeekFrom};
use std::ops::Deref as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};
use safer_ring_backend::Mode;

use super::{AsyncFile, AsyncStream, Readable, Writable};

macro_rules! reads {
    ($parameter:ident: $bound:ident, $type:ty) => {
        impl<$parameter: $bound> AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                let want = buf.len();
                let put = |bytes: &[u8]| {
                    if let Some(part) = buf.get_mut(..bytes.len()) {
                        part.copy_from_slice(bytes);
                    }
                };
                self.get_mut().poll_take(cx, want, put)
            }
        }

        impl<$parameter: $bound> AsyncBufRead for $type {
            fn poll_fill_buf(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<&[u8]>> {
                self.get_mut().poll_fill(cx)
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
                self.get_mut().poll_put(cx, std::iter::once(buf))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.get_mut().poll_put(cx, bufs.iter().map(IoSlice::deref))
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().poll_settle(cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().poll_end(cx)
            }
        }
    };
}
writes!(S: Writable, AsyncStream<S>);
writes!(M: Mode, AsyncFile<M>);

impl<M: Mode> AsyncSeek for AsyncFile<M> {
    fn poll_seek(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pos: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        self.get_mut().poll_seek_to(cx, pos)
    }
}
