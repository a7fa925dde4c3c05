//! The kernel's nf_tables by netlink: its generation, and one table as a batch that puts it back.

use super::netlink::{ACK, APPEND, Asking, Attributes, CREATE, DUMP, Message, NetlinkError, Writer};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const INET: u8 = 1;

// enum nf_tables_msg_types of linux/netfilter/nf_tables.h
const NEWTABLE: u16 = message(0);
const GETTABLE: u16 = message(1);
const DELTABLE: u16 = message(2);
const NEWCHAIN: u16 = message(3);
const GETCHAIN: u16 = message(4);
const NEWRULE: u16 = message(6);
const GETRULE: u16 = message(7);
const NEWSET: u16 = message(9);
const GETSET: u16 = message(10);
const NEWSETELEM: u16 = message(12);
const GETSETELEM: u16 = message(13);
/// Tells of a new generation.
pub(super) const NEWGEN: u16 = message(15);
const GETGEN: u16 = message(16);
const NEWOBJ: u16 = message(18);
const GETOBJ: u16 = message(19);

const SET_ANONYMOUS: u32 = 1;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVAL: u32 = 0x20;
const CHAIN_BINDING: u32 = 4;
const OBJECT_COUNTER: u32 = 1;
const ELEMENT_INTERVAL_END: u32 = 1;
/// Of a chain: table, name, hook, policy, type, flags, comment. Not: handle, uses, counters, number in a batch.
const CHAIN: [u16; 7] = [1, 3, 4, 5, 7, 10, 12];
/// Attributes of a message stay below this many bytes (an attribute's length is 16 bits).
const PART: usize = 32 * 1024;

/// The ruleset's generation, and who asks for it or changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) number: u32,
    /// Process id as the initial pid namespace counts; of a notification, who made the change.
    pub(super) pid: Option<u32>,
    pub(super) comm: Option<String>,
}

/// A table as messages that replace it, without handles, counters and places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Writer,
    last: u32,
}

impl Batch {
    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.bytes.bytes().len()
    }

    /// With a message in it that the kernel must refuse: a chain of a table that is not there.
    #[cfg(test)]
    pub(super) fn broken_for_test(&self) -> Self {
        let mut out = Building { writer: self.bytes.clone(), seq: self.last + 10 };
        // Before the message that is acknowledged (32 bytes for a name of six) and the end (20).
        let end = out.writer.cut(52);
        out.put(NEWCHAIN, CREATE, |w| {
            w.text(1, "nowhere");
            w.text(3, "c");
        });
        out.writer.append(&end);
        Self { bytes: out.writer, last: self.last }
    }
}

/// The generation of the calling thread's network namespace. Every transaction raises it by one.
///
/// # Errors
/// When the kernel does not answer.
pub fn generation() -> Result<u32, NetlinkError> {
    let doing = "tell the generation of the ruleset";
    let mut answer = None;
    Asking::open()?.ask(doing, GETGEN, 0, 0, |_| {}, |m| answer = told(m))?;
    answer.map(|g| g.number).ok_or(NetlinkError::Malformed { doing })
}

/// What a NEWGEN message tells.
pub(super) fn told(message: &Message<'_>) -> Option<Generation> {
    let a = message.attributes();
    let comm = a.get(3).map(|b| tenure_sys::text::neutral(b.split(|b| *b == 0).next().unwrap_or(b), 16));
    (message.kind == NEWGEN).then_some(())?;
    Some(Generation { number: a.be32(1)?, pid: a.be32(2), comm })
}

/// Puts the table back as it was: all of it in one transaction, or nothing.
///
/// # Errors
/// When the kernel refuses; then nothing has changed.
pub fn replay(batch: &Batch) -> Result<(), NetlinkError> {
    Asking::open()?.batch("replay a table", batch.bytes.bytes(), batch.last)
}

/// Reads the table of family inet as a batch, with the generation at which it stood so; `None` when there is none.
///
/// # Errors
/// `NetlinkError::Unsupported` when something in it lives longer or shorter than the batch can say: elements with a
/// timeout, objects other than counters, chains bound to a rule.
pub fn snapshot_batch(table: &str) -> Result<Option<(u32, Batch)>, NetlinkError> {
    let mut netlink = Asking::open()?;
    for _ in 0..10 {
        let before = generation()?;
        let batch = match read(&mut netlink, table) {
            Ok(found) => found.map(|t| t.batch(table)).transpose(),
            // What a dump shows can vanish before the next one.
            Err(NetlinkError::Changing { .. }) => continue,
            Err(e) => Err(e),
        };
        if generation()? == before {
            return Ok(batch?.map(|batch| (before, batch)));
        }
    }
    Err(NetlinkError::Changing { doing: "read a table" })
}

/// Every chain of every family as raw attributes without handles and counts, with the generation at which they stood so:
/// equal bytes are equal chains.
pub(super) fn snapshot_chains() -> Result<(u32, Vec<u8>), NetlinkError> {
    let doing = "list the chains";
    let mut netlink = Asking::open()?;
    for _ in 0..10 {
        let before = generation()?;
        let mut out = Writer::default();
        let listed = netlink.ask(
            doing,
            GETCHAIN,
            DUMP,
            0,
            |_| {},
            |m| {
                out.append(&[m.family(), 0, 0, 0]);
                keep(&mut out, m.attributes().0, &CHAIN);
            },
        );
        match listed {
            Err(NetlinkError::Changing { .. }) => continue,
            listed => listed?,
        }
        if generation()? == before {
            return Ok((before, out.bytes().to_vec()));
        }
    }
    Err(NetlinkError::Changing { doing })
}

const fn message(number: u16) -> u16 {
    SUBSYSTEM << 8 | number
}

/// A message's attributes, owned.
type Raw = Vec<u8>;

/// What the kernel's dumps of one table hold, each message's attributes in order.
#[derive(Debug, Default)]
struct Table {
    table: Raw,
    chains: Vec<Raw>,
    objects: Vec<Raw>,
    sets: Vec<(Raw, Vec<Raw>)>,
    rules: Vec<Raw>,
}

fn read(netlink: &mut Asking, table: &str) -> Result<Option<Table>, NetlinkError> {
    let doing = "read a table";
    let mut out = Table::default();
    let found = netlink.ask(doing, GETTABLE, 0, INET, |w| w.text(1, table), |m| out.table = raw(m));
    match found {
        Err(e) if e.is_missing() => return Ok(None),
        found => found?,
    }
    let name = [table.as_bytes(), b"\0"].concat();
    let mut list = |get: u16, of: &dyn Fn(&mut Writer)| -> Result<Vec<Raw>, NetlinkError> {
        let mut all = Vec::new();
        netlink.ask(
            doing,
            get,
            DUMP,
            INET,
            |w| of(w),
            |m| {
                // Older kernels do not filter; every one of these messages has its table first.
                if m.family() == INET && m.attributes().get(1) == Some(&name[..]) {
                    all.push(raw(m));
                }
            },
        )?;
        Ok(all)
    };
    let of_table = |w: &mut Writer| w.text(1, table);
    out.chains = list(GETCHAIN, &of_table)?;
    out.objects = list(GETOBJ, &of_table)?;
    for set in list(GETSET, &of_table)? {
        let set_name = Attributes(&set).get(2).ok_or(NetlinkError::Malformed { doing })?.to_vec();
        let parts = list(GETSETELEM, &|w| {
            w.text(1, table);
            w.attribute(2, &set_name);
        })?;
        let elements = parts.iter().flat_map(|p| Attributes(p).nest(3)).map(|(_, e)| e.to_vec()).collect();
        out.sets.push((set, elements));
    }
    out.rules = list(GETRULE, &of_table)?;
    Ok(Some(out))
}

fn raw(message: &Message<'_>) -> Raw {
    message.attributes().0.to_vec()
}

/// What a name of a set becomes in the batch: its own, or for an anonymous one a pattern and a number.
struct SetName {
    was: Vec<u8>,
    id: u32,
    anonymous: bool,
}

impl SetName {
    fn now(&self) -> &[u8] {
        match self.anonymous {
            false => &self.was,
            true if self.was.starts_with(b"__map") => b"__map%d\0",
            true => b"__set%d\0",
        }
    }
}

impl Table {
    fn batch(&self, name: &str) -> Result<Batch, NetlinkError> {
        let mut out = Building { writer: Writer::default(), seq: 0 };
        out.writer.message(BATCH_BEGIN, 0, 0, (0, SUBSYSTEM), |_| {});
        // Makes sure that there is one to delete.
        out.put(NEWTABLE, CREATE, |w| w.text(1, name));
        out.put(DELTABLE, 0, |w| w.text(1, name));
        out.put(NEWTABLE, CREATE, |w| keep(w, &self.table, &[1, 2, 6]));
        for chain in &self.chains {
            if Attributes(chain).be32(10).unwrap_or(0) & CHAIN_BINDING != 0 {
                return Err(NetlinkError::Unsupported { what: "a chain without a name" });
            }
            out.put(NEWCHAIN, CREATE, |w| keep(w, chain, &CHAIN));
        }
        for object in &self.objects {
            if Attributes(object).be32(3) != Some(OBJECT_COUNTER) {
                return Err(NetlinkError::Unsupported { what: "a named object that is not a counter" });
            }
            out.put(NEWOBJ, CREATE, |w| {
                keep(w, object, &[1, 2, 3, 8]);
                w.nest(4, |_| {});
            });
        }
        let names = self.names()?;
        for ((set, elements), name) in self.sets.iter().zip(&names) {
            out.set(set, elements, name)?;
        }
        for rule in &self.rules {
            let expressions = expressions(Attributes(rule).nest(4), &names)?;
            out.put(NEWRULE, CREATE | APPEND, |w| {
                keep(w, rule, &[1, 2]);
                w.nest(4, |w| expressions.iter().for_each(|e| w.attribute(1 | 0x8000, e)));
                keep(w, rule, &[7]);
            });
        }
        Ok(out.finish(name))
    }

    fn names(&self) -> Result<Vec<SetName>, NetlinkError> {
        let mut out = Vec::new();
        for (id, (set, _)) in (1..).zip(&self.sets) {
            let a = Attributes(set);
            let flags = a.be32(3).unwrap_or(0);
            if flags & (SET_TIMEOUT | SET_EVAL) != 0 || a.get(17).is_some() || a.get(18).is_some() {
                return Err(NetlinkError::Unsupported {
                    what: "a set whose elements come, count or go by themselves",
                });
            }
            let was = a.get(2).ok_or(NetlinkError::Malformed { doing: "read a table" })?.to_vec();
            out.push(SetName { was, id, anonymous: flags & SET_ANONYMOUS != 0 });
        }
        Ok(out)
    }
}

struct Building {
    writer: Writer,
    seq: u32,
}

impl Building {
    fn put(&mut self, kind: u16, flags: u16, attributes: impl FnOnce(&mut Writer)) {
        self.seq += 1;
        self.writer.message(kind, flags, self.seq, (INET, 0), attributes);
    }

    fn set(&mut self, set: &Raw, elements: &[Raw], name: &SetName) -> Result<(), NetlinkError> {
        self.put(NEWSET, CREATE, |w| {
            keep(w, set, &[1]);
            w.attribute(2, name.now());
            keep(w, set, &[3, 4, 5, 6, 7, 8, 9]);
            w.be32(10, name.id);
            keep(w, set, &[13, 15]);
        });
        let mut kept = Vec::new();
        for element in elements {
            let a = Attributes(element);
            if [4, 5, 7, 11].iter().any(|kind| a.get(*kind).is_some()) {
                return Err(NetlinkError::Unsupported { what: "an element with a timeout or an expression" });
            }
            // The kernel's tree wants intervals in ascending order, and where two touch, the end before the start.
            let end = a.be32(3).unwrap_or(0) & ELEMENT_INTERVAL_END != 0;
            let mut w = Writer::default();
            keep(&mut w, element, &[1, 2, 3, 6, 9, 10]);
            kept.push((a.get(1).map(<[u8]>::to_vec), !end, w));
        }
        kept.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let mut rest = kept.as_slice();
        while !rest.is_empty() {
            let mut size = 0;
            let fits = rest.iter().take_while(|(_, _, w)| {
                size += w.bytes().len() + 4;
                size < PART
            });
            let (part, left) = rest.split_at(fits.count().max(1));
            rest = left;
            self.put(NEWSETELEM, CREATE, |w| {
                keep(w, set, &[1]);
                w.attribute(2, name.now());
                w.be32(4, name.id);
                w.nest(3, |w| part.iter().for_each(|(_, _, e)| w.attribute(1 | 0x8000, e.bytes())));
            });
        }
        Ok(())
    }

    /// Ends the batch. Not every kernel acknowledges that by itself, so the acknowledgement is asked of a message before
    /// it that changes nothing.
    fn finish(mut self, table: &str) -> Batch {
        self.put(NEWTABLE, CREATE | ACK, |w| w.text(1, table));
        self.writer.message(BATCH_END, 0, self.seq + 1, (0, SUBSYSTEM), |_| {});
        Batch { bytes: self.writer, last: self.seq }
    }
}

/// Copies the attributes of these kinds as they are, nests included.
fn keep(writer: &mut Writer, attributes: &[u8], kinds: &[u16]) {
    for (kind, bytes) in Attributes(attributes) {
        if kinds.contains(&kind) {
            writer.attribute(kind, bytes);
        }
    }
}

/// The expressions of a rule: counters at zero, anonymous sets by their number in the batch.
fn expressions(list: Attributes<'_>, names: &[SetName]) -> Result<Vec<Raw>, NetlinkError> {
    let mut out = Vec::new();
    for (_, expression) in list {
        let a = Attributes(expression);
        let name = a.get(1).ok_or(NetlinkError::Malformed { doing: "read a table" })?;
        let mut w = Writer::default();
        w.attribute(1, name);
        // NFTA_LOOKUP_SET and _SET_ID; NFTA_OBJREF_SET_NAME and _SET_ID.
        let set = match name {
            b"lookup\0" => Some((1, 4)),
            b"objref\0" if a.nest(2).get(4).is_some() => Some((4, 5)),
            b"match\0" | b"target\0" => {
                return Err(NetlinkError::Unsupported { what: "an extension of iptables" });
            }
            b"dynset\0" | b"quota\0" | b"last\0" => {
                return Err(NetlinkError::Unsupported { what: "a rule that remembers" });
            }
            b"counter\0" => {
                w.nest(2, |_| {});
                out.push(w.bytes().to_vec());
                continue;
            }
            _ => None,
        };
        w.nest(2, |w| {
            for (kind, bytes) in a.nest(2) {
                match set {
                    Some((set_name, set_id)) if kind == set_name => {
                        let known = names.iter().find(|n| n.was == bytes);
                        w.attribute(kind, known.map_or(bytes, SetName::now));
                        if let Some(known) = known {
                            w.be32(set_id, known.id);
                        }
                    }
                    _ => w.attribute(kind, bytes),
                }
            }
        });
        out.push(w.bytes().to_vec());
    }
    Ok(out)
}
