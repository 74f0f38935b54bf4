//! One request, and its answer: a text, or a file in parts.

use std::io;

use futures_util::{StreamExt, TryStreamExt, future::Either::Left, future::Either::Right, stream};
use http_body_util::StreamBody;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Request, Response};
use safer_ring::local;

use crate::site;

pub(crate) async fn answer(
    ring: &local::Ring,
    root: &local::Fd,
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = io::Error> + use<>>, hyper::http::Error> {
    let text = |text: &'static str| stream::iter([Ok(Bytes::from(text))]);
    let (status, len, parts) = match request.uri().path().strip_prefix("/files/") {
        None if request.uri().path() == "/hello" => (200, 5, Left(text("hello"))),
        path => match site::open(ring, root, path.unwrap_or_default()).await {
            Ok((len, parts)) => (200, len, Right(parts)),
            Err(_) => (404, 9, Left(text("not found"))),
        },
    };
    let body = StreamBody::new(parts.map_ok(Frame::data).boxed_local());
    Response::builder().status(status).header("content-length", len).body(body)
}
