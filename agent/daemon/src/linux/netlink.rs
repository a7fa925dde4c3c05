//! Netlink messages, mostly netfilter's: their form (netlink(7), linux/netfilter/nfnetlink.h) and one socket to ask with.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{self, Timeout};

/// The kernel answers within the call; this only keeps a lane from hanging on a broken one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Larger than any datagram that the kernel makes of a dump (32 KiB) or a notification.
const DATAGRAM: usize = 256 * 1024;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Asks for a reply or acts at once.
pub(super) const REQUEST: u16 = 1;
/// Wants an acknowledgement.
pub(super) const ACK: u16 = 4;
/// Wants everything of a kind.
pub(super) const DUMP: u16 = 0x300;
/// Refuses what is there already.
pub(super) const EXCLUSIVE: u16 = 0x200;
/// Makes what is not there.
pub(super) const CREATE: u16 = 0x400;
/// Puts it at the end.
pub(super) const APPEND: u16 = 0x800;
/// The attribute holds attributes.
const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;

/// Why the kernel did not do or tell what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be used.
    #[error("cannot {doing}")]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel answered with an error.
    #[error("the kernel refuses to {doing}")]
    Refused {
        /// What it was asked to do.
        doing: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// An answer that does not have the form it should have.
    #[error("the kernel's answer makes no sense, asked to {doing}")]
    Malformed {
        /// What it was asked to do.
        doing: &'static str,
    },
    /// The state changed so often while it was read that no whole picture came out.
    #[error("what was read kept changing, asked to {doing}")]
    Changing {
        /// What it was asked to do.
        doing: &'static str,
    },
    /// Something in the table that a prepared batch cannot carry.
    #[error("a prepared batch cannot carry {what}")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
}

impl NetlinkError {
    /// The kernel says that there is no such thing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Messages under construction, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// One message of nfnetlink with its attributes; `kind` is subsystem << 8 | message.
    pub(super) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        seq: u32,
        (family, resource): (u8, u16),
        attributes: impl FnOnce(&mut Self),
    ) {
        self.plain(kind, flags, seq, |w| {
            w.0.extend_from_slice(&[family, 0]);
            w.0.extend_from_slice(&resource.to_be_bytes());
            attributes(w);
        });
    }

    /// A message of another family than netfilter's: only the netlink header is written for it.
    pub(super) fn plain(&mut self, kind: u16, flags: u16, seq: u32, body: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.0.extend_from_slice(&seq.to_ne_bytes());
        self.0.extend_from_slice(&[0; 4]);
        body(self);
        let length = u32::try_from(self.0.len() - start).expect("a message is far below 4 GiB");
        self.0[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// An attribute with these bytes. At most 64 KiB.
    pub(super) fn attribute(&mut self, kind: u16, bytes: &[u8]) {
        let start = self.open(kind);
        self.0.extend_from_slice(bytes);
        self.close(start);
    }

    /// An attribute with a text, which the kernel wants to end in NUL.
    pub(super) fn text(&mut self, kind: u16, text: &str) {
        let start = self.open(kind);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self.close(start);
    }

    /// An attribute with a number in network order.
    pub(super) fn be32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// An attribute that holds attributes.
    pub(super) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) {
        let start = self.open(kind | NESTED);
        inner(self);
        self.close(start);
    }

    /// Attributes that are whole already.
    pub(super) fn append(&mut self, attributes: &[u8]) {
        self.0.extend_from_slice(attributes);
    }

    /// Takes the last bytes away.
    #[cfg(test)]
    pub(super) fn cut(&mut self, bytes: usize) -> Vec<u8> {
        self.0.split_off(self.0.len() - bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.0.len() - start).expect("callers keep an attribute below 64 KiB");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
    }
}

/// One message that the kernel sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    flags: u16,
    seq: u32,
    /// What follows the netlink header.
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Its attributes, after nfnetlink's own header of four bytes.
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.body.get(4..).unwrap_or(&[]))
    }

    /// The address family of nfnetlink's header.
    pub(super) fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }

    /// The error of an NLMSG_ERROR (0 is an acknowledgement) or NLMSG_DONE.
    fn error(&self) -> i32 {
        self.body.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b))
    }
}

/// The messages of one datagram; ends at the first that is cut short.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let head = self.0.first_chunk::<16>()?;
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let body = self.0.get(16..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([head[4], head[5]]),
            flags: u16::from_ne_bytes([head[6], head[7]]),
            seq: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
            body,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    }
}

/// Attributes one after the other, as (kind, bytes); ends at the first that is cut short.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let item = (u16::from_ne_bytes([head[2], head[3]]) & KIND, self.0.get(4..length)?);
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(item)
    }
}

impl<'a> Attributes<'a> {
    /// The bytes of the first attribute of this kind.
    pub(super) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(k, _)| *k == kind).map(|(_, bytes)| bytes)
    }

    /// A number in network order.
    pub(super) fn be32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(*self.get(kind)?.first_chunk()?))
    }

    /// A number in network order.
    pub(super) fn be16(self, kind: u16) -> Option<u16> {
        Some(u16::from_be_bytes(*self.get(kind)?.first_chunk()?))
    }

    /// The attributes inside one.
    pub(super) fn nest(self, kind: u16) -> Attributes<'a> {
        Attributes(self.get(kind).unwrap_or(&[]))
    }
}

/// A socket to ask the kernel with. It belongs to the network namespace of the thread that opens it.
#[derive(Debug)]
pub(super) struct Asking {
    socket: Socket,
    seq: u32,
    buffer: Vec<u8>,
}

impl Asking {
    /// To ask netfilter.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Self::open_to(NETLINK_NETFILTER)
    }

    /// To ask this part of the kernel (netlink(7), "Netlink families").
    pub(super) fn open_to(protocol: isize) -> Result<Self, NetlinkError> {
        let doing = "open a netlink socket";
        let failed = |source| NetlinkError::Socket { doing, source };
        let mut socket = Socket::new(protocol).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(|e| failed(e.into()))?;
        Ok(Self { socket, seq: 0, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Sends one message and gives its replies to `each`; ends with the acknowledgement, the end of a dump or, when
    /// neither was asked for, the first reply.
    pub(super) fn ask(
        &mut self,
        doing: &'static str,
        kind: u16,
        flags: u16,
        family: u8,
        attributes: impl FnOnce(&mut Writer),
        each: impl FnMut(&Message<'_>),
    ) -> Result<(), NetlinkError> {
        self.seq = self.seq.wrapping_add(1);
        let mut request = Writer::default();
        request.message(kind, flags, self.seq, (family, 0), attributes);
        self.send(doing, request.bytes())?;
        self.replies(doing, flags, each)
    }

    /// The same for another family than netfilter's: `body` follows the netlink header.
    pub(super) fn ask_plain(
        &mut self,
        doing: &'static str,
        kind: u16,
        flags: u16,
        body: &[u8],
        each: impl FnMut(&Message<'_>),
    ) -> Result<(), NetlinkError> {
        self.seq = self.seq.wrapping_add(1);
        let mut request = Writer::default();
        request.plain(kind, flags, self.seq, |w| w.append(body));
        self.send(doing, request.bytes())?;
        self.replies(doing, flags, each)
    }

    fn replies(
        &mut self,
        doing: &'static str,
        flags: u16,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), NetlinkError> {
        let mut interrupted = false;
        loop {
            self.receive(doing)?;
            for message in Messages(&self.buffer) {
                if message.seq != self.seq {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return match (message.error(), interrupted) {
                            (0, false) => Ok(()),
                            (0, true) => Err(NetlinkError::Changing { doing }),
                            (error, _) => Err(refused(doing, error)),
                        };
                    }
                    _ => each(&message),
                }
                if flags & (ACK | DUMP) == 0 {
                    return Ok(());
                }
            }
        }
    }

    /// Sends a batch whose last message before the end carries `last` and wants an acknowledgement; the kernel does
    /// all of it or nothing.
    pub(super) fn batch(&mut self, doing: &'static str, bytes: &[u8], last: u32) -> Result<(), NetlinkError> {
        let failed = |e: rustix::io::Errno| NetlinkError::Socket { doing, source: e.into() };
        // A batch is one datagram, and the usual limit is 208 KiB.
        sockopt::set_socket_send_buffer_size_force(&self.socket, bytes.len().saturating_mul(2).max(1 << 20))
            .map_err(failed)?;
        self.send(doing, bytes)?;
        loop {
            self.receive(doing)?;
            for message in Messages(&self.buffer) {
                if message.kind != NLMSG_ERROR {
                    continue;
                }
                // A failed commit is told with the batch's first message, before any acknowledgement.
                match (message.error(), message.seq == last) {
                    (0, true) => return Ok(()),
                    (0, false) => {}
                    (error, _) => return Err(refused(doing, error)),
                }
            }
        }
    }

    fn send(&self, doing: &'static str, bytes: &[u8]) -> Result<(), NetlinkError> {
        let kernel = SocketAddr::new(0, 0);
        match self.socket.send_to(bytes, &kernel, 0) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) => Err(NetlinkError::Malformed { doing }),
            Err(source) => Err(NetlinkError::Socket { doing, source }),
        }
    }

    fn receive(&mut self, doing: &'static str) -> Result<(), NetlinkError> {
        receive(&self.socket, &mut self.buffer, 0).map_err(|source| NetlinkError::Socket { doing, source })
    }
}

/// Receives one datagram from the kernel into the buffer, whose capacity it may fill.
pub(super) fn receive(socket: &Socket, buffer: &mut Vec<u8>, flags: i32) -> io::Result<()> {
    loop {
        buffer.clear();
        buffer.reserve(DATAGRAM);
        let room = buffer.capacity();
        match socket.recv_from(buffer, flags) {
            // Only the kernel (port 0) is believed; any process of root's could send to us.
            Ok((_, from)) if from.port_number() != 0 => {}
            Ok((length, _)) if length < room => return Ok(()),
            Ok(_) => return Err(io::Error::other("a datagram was cut short")),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn refused(doing: &'static str, error: i32) -> NetlinkError {
    NetlinkError::Refused { doing, source: io::Error::from_raw_os_error(error.saturating_neg()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut w = Writer::default();
        w.message(0x0a01, ACK, 7, (1, 10), |w| {
            w.text(1, "tenure");
            w.nest(2, |w| w.be32(3, 0x0102_0304));
            w.attribute(4, &[9; 5]);
        });
        w.message(0x0a02, 0, 8, (2, 0), |_| {});
        let all: Vec<Message<'_>> = Messages(w.bytes()).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].seq, all[0].family(), all[1].kind), (0x0a01, 7, 1, 0x0a02));
        let attributes = all[0].attributes();
        assert_eq!(attributes.get(1), Some(&b"tenure\0"[..]));
        assert_eq!(attributes.nest(2).be32(3), Some(0x0102_0304));
        assert_eq!(attributes.get(4), Some(&[9; 5][..]));
        assert_eq!(attributes.get(5), None);
    }

    #[test]
    fn no_bytes_make_it_panic_or_loop() {
        let mut w = Writer::default();
        w.message(1, 0, 1, (0, 0), |w| w.nest(1, |w| w.text(2, "x")));
        let whole = w.bytes().to_vec();
        let mut state = 1u32;
        for round in 0..20_000usize {
            let mut bytes = whole[..whole.len() - round % whole.len()].to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % bytes.len();
                bytes[at] = state as u8;
            }
            for message in Messages(&bytes) {
                assert!(message.attributes().count() <= bytes.len());
                let _ = message.attributes().nest(1).be32(2);
            }
        }
    }
}
