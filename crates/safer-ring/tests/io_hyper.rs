//! hyper over our streams, with our timers: both modes, with clients that go away in the middle.
#![cfg(feature = "hyper")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use common::alone::{alone, describe_descriptors, descriptors};
use common::pattern;
use futures_util::future::{Either, join_all, select};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Sleep, Timer};
use hyper::service::service_fn;
use hyper::{Request, Response};
use safer_ring::io::{AsyncStream, LocalTimer, RingTimer};
use safer_ring::net::{TcpListener, TcpStream};
use safer_ring::{Mode, Ring, RingOf, local};

const REQUESTS: usize = 100;

/// Answers with the body that came, reversed; bodies are of any size.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let reversed: Vec<u8> = body.iter().rev().copied().collect();
    Ok(Response::new(Full::new(reversed.into())))
}

/// Serves one connection to its end, whatever its client does.
async fn serve<M: Mode>(stream: TcpStream<M>, timer: impl Timer + Send + Sync + 'static) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(timer)
        .header_read_timeout(Duration::from_secs(20))
        .serve_connection(AsyncStream::new(stream), service_fn(answer));
    // A client that goes away is an error of the connection and of nothing else.
    let _ = served.await;
}

/// Some requests on one connection, until one is aborted or all are answered. Gives how many were answered.
async fn ask<M: Mode>(ring: RingOf<M>, address: std::net::SocketAddr, client: usize) -> usize {
    let stream = TcpStream::connect(&ring, address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream.into_io()).await.unwrap();
    let requests = pin!(async {
        let mut answered = 0;
        for number in 0..5 {
            let body = pattern((client * 7919 + number * 104_729) % 100_000);
            let request = Request::post("/").body(Full::new(Bytes::from(body.clone()))).unwrap();
            let mut response = pin!(async {
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                response.into_body().collect().await.unwrap().to_bytes()
            });
            // Every other client gives up in the middle of its third request.
            let patience =
                if client.is_multiple_of(2) && number == 2 { client % 7 } else { usize::MAX };
            let mut polls = 0;
            let got = poll_fn(|cx| {
                polls += 1;
                if polls > patience {
                    Poll::Ready(None)
                } else {
                    response.as_mut().poll(cx).map(Some)
                }
            })
            .await;
            let Some(got) = got else { return answered };
            assert!(got.iter().rev().eq(body.iter()));
            answered += 1;
        }
        answered
    });
    match select(requests, pin!(connection)).await {
        Either::Left((answered, _)) => answered,
        Either::Right((ended, _)) => panic!("the connection ended first: {ended:?}"),
    }
}

/// A server, and clients beside it. One request in ten is aborted.
async fn everything<M: Mode>(ring: RingOf<M>, timer: impl Timer + Clone + Send + Sync + 'static) {
    let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clients = REQUESTS / 5;
    let server = async {
        let mut connections = Vec::new();
        for _ in 0..clients {
            let (stream, _) = listener.accept().await.unwrap();
            connections.push(Box::pin(serve(stream, timer.clone())));
        }
        connections
    };
    // Clients ask while the server accepts, and while it serves.
    let asked = join_all((0..clients).map(|client| ask(ring.clone(), address, client)));
    let served = async { join_all(server.await).await };
    let (answered, _) = futures_util::future::join(asked, served).await;
    let answered: usize = answered.into_iter().sum();
    assert!((REQUESTS * 3 / 5..REQUESTS).contains(&answered), "{answered}");
}

/// Runs it twice, and counts descriptors after each time.
fn leaks_nothing(run: impl Fn()) {
    run();
    let before = descriptors();
    run();
    let end = Instant::now() + Duration::from_secs(10);
    while descriptors() > before && Instant::now() < end {
        std::thread::yield_now();
    }
    // Fewer is no leak: the second run may have needed fewer rings.
    assert!(descriptors() <= before, "{:?}", describe_descriptors());
}

#[test]
fn a_local_ring_serves_and_asks() {
    alone("a_local_ring_serves_and_asks", || {
        leaks_nothing(|| {
            let ring = local::Ring::new(64).unwrap();
            ring.block_on(everything(ring.clone(), LocalTimer::new(&ring)));
        });
    });
}

#[test]
fn a_shared_ring_serves_and_asks() {
    alone("a_shared_ring_serves_and_asks", || {
        let ring: Ring = Ring::new(64).unwrap();
        leaks_nothing(|| {
            pollster::block_on(everything(ring.clone(), RingTimer::new(&ring)));
        });
    });
}

#[test]
fn a_shared_ring_serves_in_tasks_of_tokio() {
    alone("a_shared_ring_serves_in_tasks_of_tokio", || {
        let ring: Ring = Ring::new(64).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let run = || {
            runtime.block_on(async {
                let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let timer = RingTimer::new(&ring);
                let server = tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve(stream, timer.clone()));
                    }
                });
                let mut clients = Vec::new();
                for client in 0..REQUESTS / 5 {
                    clients.push(tokio::spawn(ask(ring.clone(), address, client)));
                }
                let mut answered = 0;
                for (client, task) in clients.into_iter().enumerate() {
                    if client % 5 == 4 {
                        task.abort();
                    }
                    answered += task.await.unwrap_or(0);
                }
                assert!(answered > REQUESTS / 3, "{answered}");
                server.abort();
                let _ = server.await;
            });
        };
        leaks_nothing(run);
    });
}

/// A header that does not come in time ends the connection: the timer fires.
async fn slow_headers<M: Mode>(ring: RingOf<M>, timer: impl Timer + Send + Sync + 'static) {
    let (server, client) = common::net::tcp_pair();
    let server = TcpStream::from_std(&ring, server);
    let client = TcpStream::from_std(&ring, client);
    client.write_all("GET / HT").await.unwrap();
    let service = service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(timer)
        .header_read_timeout(Duration::from_millis(20))
        .serve_connection(server.into_io(), service)
        .await;
    assert!(served.unwrap_err().is_timeout());
}

#[test]
fn slow_headers_meet_a_timer_of_the_ring() {
    common::within_deadline(|| {
        let ring: Ring = Ring::new(8).unwrap();
        pollster::block_on(slow_headers(ring.clone(), RingTimer::new(&ring)));
        let ring = local::Ring::new(8).unwrap();
        ring.block_on(slow_headers(ring.clone(), LocalTimer::new(&ring)));
    });
}

#[test]
fn a_timer_is_set_anew() {
    common::within_deadline(|| {
        async fn anew(timer: impl Timer) {
            let begin = Instant::now();
            let mut sleep = timer.sleep(Duration::from_secs(3600));
            timer.reset(&mut sleep, begin + Duration::from_millis(5));
            sleep.await;
            assert!(begin.elapsed() >= Duration::from_millis(5));
            timer.sleep_until(begin).await;
        }
        let ring: Ring = Ring::new(8).unwrap();
        pollster::block_on(anew(RingTimer::new(&ring)));
        let ring = local::Ring::new(8).unwrap();
        ring.block_on(anew(LocalTimer::new(&ring)));
    });
}

#[test]
fn timers_of_a_local_ring_do_no_harm_elsewhere() {
    common::within_deadline(|| {
        let ring = local::Ring::new(8).unwrap();
        let timer = LocalTimer::new(&ring);
        let sleep = timer.sleep(Duration::from_secs(3600));
        let other = timer.clone();
        std::thread::spawn(move || {
            // Over at once, used and dropped without a panic.
            pollster::block_on(sleep);
            pollster::block_on(other.sleep(Duration::from_secs(3600)));
            pollster::block_on(other.clone().sleep_until(Instant::now()));
        })
        .join()
        .unwrap();
        ring.block_on(timer.sleep(Duration::from_millis(1)));
    });
}

/// HTTP/2 starts tasks of its own, which are not `Send` here: the service counts in an `Rc`.
#[cfg(feature = "runtime")]
#[test]
fn a_runtime_serves_http2_with_tasks_that_stay_on_its_thread() {
    use std::cell::Cell;
    use std::rc::Rc;

    use safer_ring::io::RuntimeExecutor;
    use safer_ring::{Runtime, runtime};

    async fn serve(listener: local::TcpListener, served: Rc<Cell<usize>>) {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request| {
            served.set(served.get() + 1);
            answer(request)
        });
        let builder = hyper::server::conn::http2::Builder::new(RuntimeExecutor::new());
        builder.serve_connection(stream.into_io(), service).await.unwrap();
    }

    alone("a_runtime_serves_http2_with_tasks_that_stay_on_its_thread", || {
        leaks_nothing(|| {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                let (ring, served) = (runtime::ring(), Rc::new(Cell::new(0)));
                let listener = local::TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let server = runtime::spawn(serve(listener, Rc::clone(&served)));
                let stream = local::TcpStream::connect(&ring, address).await.unwrap();
                let executor = RuntimeExecutor::new();
                let (sender, connection) =
                    hyper::client::conn::http2::handshake(executor, stream.into_io())
                        .await
                        .unwrap();
                let connection = runtime::spawn(connection);
                // All at once on one connection, which is what HTTP/2 is for.
                let ask = |number: usize| {
                    let mut sender = sender.clone();
                    async move {
                        let body = pattern(number * 7919 % 100_000);
                        let sent = Full::new(Bytes::from(body.clone()));
                        let request = Request::post("http://here/").body(sent).unwrap();
                        let response = sender.send_request(request).await.unwrap();
                        let got = response.into_body().collect().await.unwrap().to_bytes();
                        assert!(got.iter().rev().eq(body.iter()), "request {number}");
                    }
                };
                join_all((0..REQUESTS).map(ask)).await;
                assert_eq!(served.get(), REQUESTS);
                drop(sender);
                connection.await.unwrap().unwrap();
                server.await.unwrap();
            });
        });
    });
}

#[cfg(feature = "runtime")]
#[test]
#[should_panic(expected = "not in a safer_ring::Runtime")]
fn an_executor_outside_of_a_runtime_says_so() {
    hyper::rt::Executor::execute(&safer_ring::io::RuntimeExecutor::new(), async {});
}

/// A connection that ends before its time limit drops the timer of that, and the ring what it had of it.
#[test]
fn a_timer_that_is_dropped_leaves_nothing() {
    struct Counted;

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }

    async fn dropped<M: Mode>(ring: RingOf<M>, timer: impl Timer) {
        let wakes = Arc::new(Counted);
        let waker = Waker::from(Arc::clone(&wakes));
        let hour = || Instant::now() + Duration::from_secs(3600);
        let mut sleeps: Vec<_> = (0..100).map(|_| timer.sleep_until(hour())).collect();
        let poll = |sleep: &mut Pin<Box<dyn Sleep>>| {
            assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        };
        sleeps.iter_mut().for_each(poll);
        assert!(Arc::strong_count(&wakes) >= 102, "each has its waker");
        for sleep in &mut sleeps {
            timer.reset(sleep, hour());
        }
        sleeps.iter_mut().for_each(poll);
        drop(sleeps);
        common::net::until(&ring, "the wakers are gone", || Arc::strong_count(&wakes) == 2).await;
        common::net::ended(&ring).await;
    }

    common::within_deadline(|| {
        let ring: Ring = Ring::new(8).unwrap();
        pollster::block_on(dropped(ring.clone(), RingTimer::new(&ring)));
        let ring = local::Ring::new(8).unwrap();
        ring.block_on(dropped(ring.clone(), LocalTimer::new(&ring)));
    });
}
