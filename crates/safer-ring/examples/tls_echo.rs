//! TLS echo on multi-thread tokio: `tls_echo ADDRESS CERTIFICATE`, until ctrl-c.
//!
//! `into_io` gives a stream the traits of tokio, and `tokio-rustls` takes it as it takes tokio's own. The certificate is
//! made at the start, for the name "localhost", and is written to the file CERTIFICATE for clients to trust.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use safer_ring::Ring;
use safer_ring::net::{TcpListener, TcpStream};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tls_echo ADDRESS CERTIFICATE".into());
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let listener = TcpListener::bind(&Ring::new(256)?, address).await?;
    std::fs::write(path, made.cert.pem())?;
    println!("listening on {}", listener.local_addr()?);
    let mut stop = pin!(tokio::signal::ctrl_c());
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            _ = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted?,
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Err(error) = echo(stream, acceptor).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn echo(stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let handshake = acceptor.accept(stream.into_io());
    let stream = tokio::time::timeout(Duration::from_secs(10), handshake).await??;
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await // says goodbye inside of TLS as well
}
