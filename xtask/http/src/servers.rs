//! The servers to compare with: what the examples `axum_files` and `hyper_local` do, on plain tokio.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use axum::extract::{Path as Named, State};
use axum::http::{StatusCode, header::CONTENT_LENGTH};
use axum::serve::ListenerExt as _;
use axum::{Router, body::Body, response::IntoResponse, routing::get};
use futures_util::future::Either;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime;
use tokio_util::io::ReaderStream;

/// Bytes of a part of a body.
const PART: usize = 64 * 1024;
const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A file below `root`: its length and its bytes.
async fn open(root: &Path, path: &str) -> io::Result<(u64, ReaderStream<tokio::io::Take<File>>)> {
    let path = Path::new(path);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = File::open(root.join(path)).await?;
    let status = file.metadata().await?;
    if !status.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((status.len(), ReaderStream::with_capacity(file.take(status.len()), PART)))
}

async fn file(
    State(root): State<PathBuf>,
    Named(path): Named<String>,
) -> Result<impl IntoResponse, StatusCode> {
    let (len, parts) = open(&root, &path).await.map_err(|_| StatusCode::NOT_FOUND)?;
    Ok(([(CONTENT_LENGTH, len)], Body::from_stream(parts)))
}

/// axum on multi-thread tokio, until it is interrupted.
pub(crate) fn axum(root: PathBuf) -> io::Result<()> {
    runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(ANY).await?;
        println!("http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let site = Router::new().route("/hello", get("hello")).route("/files/{*path}", get(file));
        axum::serve(listener, site.with_state(root))
            .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
            .await
    })
}

async fn answer(
    root: &Path,
    request: Request<Incoming>,
) -> Result<
    Response<impl hyper::body::Body<Data = Bytes, Error = io::Error> + use<>>,
    hyper::http::Error,
> {
    let text = |text: &'static str| stream::iter([Ok(Bytes::from(text))]);
    let (status, len, parts) = match request.uri().path().strip_prefix("/files/") {
        None if request.uri().path() == "/hello" => (200, 5, Either::Left(text("hello"))),
        path => match open(root, path.unwrap_or_default()).await {
            Ok((len, parts)) => (200, len, Either::Right(parts)),
            Err(_) => (404, 9, Either::Left(text("not found"))),
        },
    };
    let body = StreamBody::new(parts.map_ok(Frame::data).boxed_local());
    Response::builder().status(status).header("content-length", len).body(body)
}

async fn serve(listener: TcpListener, root: Rc<Path>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let root = Rc::clone(&root);
        drop(tokio::task::spawn_local(async move {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
            let service = service_fn(|request| answer(&root, request));
            server.serve_connection(TokioIo::new(stream), service).await
        }));
    }
}

/// One thread: a runtime of its own and a listener beside those of the others.
fn thread(address: SocketAddr, root: &Path, told: &mpsc::Sender<SocketAddr>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        let listener = socket.listen(1024)?;
        let _ = told.send(listener.local_addr()?);
        serve(listener, root.into()).await;
        Ok(())
    })
}

/// hyper, and a thread of current-thread tokio for each core, until it is interrupted.
pub(crate) fn hyper(root: PathBuf) -> io::Result<()> {
    let mut address = ANY.into();
    for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
        let (tell, told) = mpsc::channel();
        let root = root.clone();
        std::thread::spawn(move || thread(address, &root, &tell));
        address = told.recv().map_err(|_| io::Error::other("a thread did not start"))?;
    }
    println!("http://{address}");
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(tokio::signal::ctrl_c())
}
