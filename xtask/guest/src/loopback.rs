//! Raises the loopback interface by a message of rtnetlink(7): a new machine has it down.

use std::io;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};

/// `RTM_NEWLINK`: changes an interface that is there.
const NEW_LINK: u16 = 16;
/// `NLMSG_ERROR`, which is also how success is told.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const FLAGS: u16 = 1 | 4;
/// `IFF_UP`.
const UP: u32 = 1;
/// The loopback interface is the first of every network namespace.
const LOOPBACK: i32 = 1;

/// `struct nlmsghdr` and `struct ifinfomsg`, in the order of bytes of this machine.
fn request() -> Vec<u8> {
    let mut body = Vec::new();
    // Family, padding, type.
    body.extend([0; 4]);
    body.extend(LOOPBACK.to_ne_bytes());
    // The flags, and which of them are meant.
    body.extend(UP.to_ne_bytes());
    body.extend(UP.to_ne_bytes());
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    // A number for the answer, and no port: to the kernel.
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(body);
    message
}

/// What the kernel answers: 0 or an errno, negated, behind a head of 16 bytes.
fn judge(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(io::Error::other("not an answer of rtnetlink")),
    }
}

/// Raises it.
///
/// # Errors
/// The kernel refuses, or has no rtnetlink.
pub(crate) fn raise() -> io::Result<()> {
    // Of the protocols of netlink(7), number 0, which is also the default, is rtnetlink.
    let line = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    sendto(&line, &request(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 256];
    let (length, _) = recv(&line, &mut answer, RecvFlags::empty())?;
    judge(answer.get(..length).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_as_long_as_it_says() {
        let request = request();
        assert_eq!(request.len(), 32);
        assert_eq!(u32::from_ne_bytes(request[..4].try_into().unwrap()), 32);
    }

    #[test]
    fn an_answer_is_success_an_errno_or_none() {
        let answer = |kind: u16, code: i32| {
            let head = [&[0; 4][..], &kind.to_ne_bytes(), &[0; 10]].concat();
            judge(&[&head[..], &code.to_ne_bytes(), &[0; 16]].concat())
        };
        assert!(answer(ERROR, 0).is_ok());
        assert_eq!(answer(ERROR, -1).unwrap_err().raw_os_error(), Some(1));
        assert!(answer(NEW_LINK, 0).is_err());
        assert!(judge(&[]).is_err());
    }
}
