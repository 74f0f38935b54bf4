//! The other side of connections: std's on the machine, that of a second ring in a simulated kernel.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use safer_ring::{Address, Control, Fd, Mode, RingOf, SocketKind};

use crate::env::{Env, Trouble};

const PEEK: u32 = 0x2;

/// A call of std's that a signal has not interrupted: the suite also runs in a storm of them.
pub(crate) fn steadily<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// One side of a connection, or a socket for datagrams, that is not under test.
pub(crate) enum Far<M: Mode> {
    Unix(UnixStream),
    Tcp(TcpStream),
    Datagram(UnixDatagram),
    Udp(UdpSocket),
    /// In a world: its ring, the socket, and the address that it was bound to.
    Ring {
        ring: RingOf<M>,
        fd: Fd<M>,
        local: Option<SocketAddr>,
    },
}

impl<M: Mode> Far<M> {
    /// The socket, for the ring under test.
    pub(crate) fn into_fd(self) -> Result<Fd<M>, Trouble> {
        Ok(match self {
            Far::Unix(socket) => Fd::new(socket),
            Far::Tcp(socket) => Fd::new(socket),
            Far::Datagram(socket) => Fd::new(socket),
            Far::Udp(socket) => Fd::new(socket),
            Far::Ring { fd, .. } => fd,
        })
    }

    /// Where it is bound.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr, Trouble> {
        Ok(match self {
            Far::Tcp(socket) => socket.local_addr()?,
            Far::Udp(socket) => socket.local_addr()?,
            Far::Ring { local, .. } => local.ok_or("it was not bound")?,
            Far::Unix(_) | Far::Datagram(_) => return Err("it has no IP address".into()),
        })
    }

    /// Sends these bytes, or this datagram.
    pub(crate) async fn write_all(&self, bytes: &[u8]) -> Result<(), Trouble> {
        match self {
            Far::Unix(socket) => { socket }.write_all(bytes)?,
            Far::Tcp(socket) => { socket }.write_all(bytes)?,
            Far::Datagram(socket) => drop(socket.send(bytes)?),
            Far::Udp(socket) => drop(socket.send(bytes)?),
            Far::Ring { ring, fd, .. } => {
                let mut rest = bytes.to_vec();
                loop {
                    let (count, back) = ring.send(fd, rest).await?;
                    rest = back.get(count..).unwrap_or_default().to_vec();
                    if rest.is_empty() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn receive(&self, len: usize, peek: bool) -> Result<Vec<u8>, Trouble> {
        let mut room = vec![0; len];
        let count = match self {
            Far::Unix(socket) => steadily(|| { socket }.read(&mut room))?,
            Far::Tcp(socket) if peek => steadily(|| socket.peek(&mut room))?,
            Far::Tcp(socket) => steadily(|| { socket }.read(&mut room))?,
            Far::Datagram(socket) => steadily(|| socket.recv(&mut room))?,
            Far::Udp(socket) => steadily(|| socket.recv(&mut room))?,
            Far::Ring { ring, fd, .. } => {
                let (count, back) = ring.recv_with(fd, room, if peek { PEEK } else { 0 }).await?;
                room = back;
                count
            }
        };
        room.truncate(count);
        Ok(room)
    }

    /// Receives once.
    pub(crate) async fn read(&self, len: usize) -> Result<Vec<u8>, Trouble> {
        self.receive(len, false).await
    }

    /// Waits until something is there, and takes nothing. A connection by IP.
    pub(crate) async fn peek(&self, len: usize) -> Result<(), Trouble> {
        self.receive(len, true).await.map(drop)
    }

    /// Receives so many bytes.
    pub(crate) async fn read_exact(&self, len: usize) -> Result<Vec<u8>, Trouble> {
        let mut all = Vec::new();
        while all.len() < len {
            let more = self.read(len - all.len()).await?;
            if more.is_empty() {
                return Err("the end came early".into());
            }
            all.extend(more);
        }
        Ok(all)
    }

    /// Sends a datagram there.
    pub(crate) async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> Result<(), Trouble> {
        match self {
            Far::Udp(socket) => drop(socket.send_to(bytes, to)?),
            Far::Ring { ring, fd, .. } => {
                let to = Address::from(to);
                ring.send_msg(fd, bytes.to_vec(), Some(&to), Control::new()).await?;
            }
            _ => return Err("it sends to its peer alone".into()),
        }
        Ok(())
    }

    /// Who sent the next datagram.
    pub(crate) async fn sender(&self) -> Result<SocketAddr, Trouble> {
        Ok(match self {
            Far::Udp(socket) => steadily(|| socket.recv_from(&mut [0; 16]))?.1,
            Far::Ring { ring, fd, .. } => {
                let got = ring.recv_msg(fd, vec![0; 16], 0).await?;
                got.address.as_ref().and_then(Address::ip).ok_or("no sender")?
            }
            _ => return Err("it has one peer".into()),
        })
    }
}

impl<M: Mode> Env<M> {
    /// A connection: this side for the ring, the other beside it.
    pub(crate) async fn stream(&self) -> Result<(Fd<M>, Far<M>), Trouble> {
        let Some((other, number)) = self.other() else {
            let (near, far) = UnixStream::pair()?;
            return Ok((Fd::new(near), Far::Unix(far)));
        };
        let name = Address::unix(self.path(&format!("pair{number}")))?;
        let listener = other.socket(&name, SocketKind::Stream).await?;
        other.bind(&listener, name.clone()).await?;
        other.listen(&listener, 1).await?;
        let near = other.socket(&name, SocketKind::Stream).await?;
        other.connect(&near, name).await?;
        let (fd, _) = other.accept(&listener).await?;
        Ok((near, Far::Ring { ring: other.clone(), fd, local: None }))
    }

    /// A socket that listens on the loopback, and its address.
    pub(crate) async fn listener(&self) -> Result<(Fd<M>, SocketAddr), Trouble> {
        let Some((other, _)) = self.other() else {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            return Ok((Fd::new(listener), address));
        };
        let address = self.loopback();
        let listener = other.socket(&Address::from(address), SocketKind::Stream).await?;
        other.bind(&listener, address).await?;
        other.listen(&listener, 128).await?;
        Ok((listener, address))
    }

    /// A connection to this address, from beside the ring.
    pub(crate) async fn client(&self, address: SocketAddr) -> Result<Far<M>, Trouble> {
        let Some((other, _)) = self.other() else {
            return Ok(Far::Tcp(TcpStream::connect(address)?));
        };
        let local = self.loopback();
        let fd = other.socket(&Address::from(local), SocketKind::Stream).await?;
        other.bind(&fd, local).await?;
        other.connect(&fd, address).await?;
        Ok(Far::Ring { ring: other.clone(), fd, local: Some(local) })
    }

    /// A connection by IP: this side for the ring, the other beside it.
    pub(crate) async fn tcp(&self) -> Result<(Fd<M>, Far<M>), Trouble> {
        if self.other().is_none() {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let near = TcpStream::connect(listener.local_addr()?)?;
            return Ok((Fd::new(near), Far::Tcp(listener.accept()?.0)));
        }
        let (listener, address) = self.listener().await?;
        let far = self.client(address).await?;
        let (near, _) = self.ring().accept(&listener).await?;
        Ok((near, far))
    }

    /// A stream socket without a peer, by IP or Unix.
    pub(crate) async fn unconnected(&self, unix: bool) -> Result<Fd<M>, Trouble> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let Some((other, _)) = self.other() else {
            let family = if unix { AddressFamily::UNIX } else { AddressFamily::INET };
            let flags = SocketFlags::CLOEXEC;
            return Ok(Fd::new(socket_with(family, SocketType::STREAM, flags, None)?));
        };
        let like = if unix { Address::unix("/tmp/none")? } else { self.loopback().into() };
        Ok(other.socket(&like, SocketKind::Stream).await?)
    }

    /// Two sockets for datagrams, connected to each other.
    pub(crate) async fn datagrams(&self) -> Result<(Fd<M>, Far<M>), Trouble> {
        let Some((other, number)) = self.other() else {
            let (near, far) = UnixDatagram::pair()?;
            return Ok((Fd::new(near), Far::Datagram(far)));
        };
        let mut ends = Vec::new();
        for side in ["near", "far"] {
            let name = Address::unix(self.path(&format!("{side}{number}")))?;
            let fd = other.socket(&name, SocketKind::Datagram).await?;
            other.bind(&fd, name.clone()).await?;
            ends.push((fd, name));
        }
        let (Some((far, of_far)), Some((near, of_near))) = (ends.pop(), ends.pop()) else {
            return Err("two were made".into());
        };
        other.connect(&near, of_far).await?;
        other.connect(&far, of_near).await?;
        Ok((near, Far::Ring { ring: other.clone(), fd: far, local: None }))
    }

    /// A socket for datagrams by IP that is bound, and its address.
    pub(crate) async fn udp(&self) -> Result<Far<M>, Trouble> {
        let Some((other, _)) = self.other() else {
            return Ok(Far::Udp(UdpSocket::bind("127.0.0.1:0")?));
        };
        let local = self.loopback();
        let fd = other.socket(&Address::from(local), SocketKind::Datagram).await?;
        other.bind(&fd, local).await?;
        Ok(Far::Ring { ring: other.clone(), fd, local: Some(local) })
    }
}

/// Of a world's time.
const HOUR: Duration = Duration::from_secs(3600);

/// Fills a socket or pipe until it takes no more.
pub(crate) async fn fill<M: Mode>(env: &Env<M>, fd: &Fd<M>) -> Result<usize, Trouble> {
    let mut sum = 0;
    if let Some((other, _)) = env.other() {
        for size in [65_536, 1024, 1] {
            loop {
                // Time costs nothing there, and within this one everything begins.
                match other.write_owned(fd, vec![0; size]).timeout(HOUR).await {
                    Ok((count, _)) => sum += count,
                    Err(failed) if failed.error.kind() == ErrorKind::TimedOut => break,
                    Err(failed) => return Err(failed.into()),
                }
            }
        }
        return Ok(sum);
    }
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?;
    for size in [65_536, 1024, 1] {
        while let Ok(count) = rustix::io::write(fd, &vec![0; size]) {
            sum += count;
        }
    }
    rustix::fs::fcntl_setfl(fd, flags)?;
    Ok(sum)
}
