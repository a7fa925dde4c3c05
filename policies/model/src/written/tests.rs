//! What must hold, and what is suspended for a while.

use std::net::IpAddr;

use jiff::civil::Date;
use tenure_trust::{HostName, PersonName};

use crate::fault::{Faults, Spanned};
use crate::names::{NetworkName, UnixUser};
use crate::scalars::{DutyName, Service, TestEnd, Text};
use crate::shape::{FromNode, NonEmpty, Shape, section, words};
use crate::tree::{Kind, Node};

section! {
    /// A duty that is suspended for a while.
    Waiver = "a waiver" {
        /// Which value of the policy.
        what / "what": Spanned<DutyName>,
        /// On which hosts (or hosts with these profiles).
        hosts / "hosts": NonEmpty<Spanned<NetworkName>>,
        /// The last day.
        until / "until": Spanned<Date>,
        /// Who answers for it.
        owner / "owner": Spanned<PersonName>,
        /// Why.
        because / "because": Spanned<Text>,
    }
}

/// A test of the set.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// What a packet meets.
    Packet(PacketTest),
    /// What a login meets.
    Login(LoginTest),
}

section! {
    /// What packets from one end to another meet.
    PacketTest = "a test of packets" {
        /// An address, or a host.
        from / "from": Spanned<TestEnd>,
        /// A host, or an address.
        to / "to": Spanned<TestEnd>,
        /// As which local user of the sending host; left out: every one.
        user / "user": Option<Spanned<UnixUser>>,
        /// What gets through.
        accept / "accept": Vec<Spanned<Service>>,
        /// What does not.
        drop / "drop": Vec<Spanned<Service>>,
    }
}

section! {
    /// What a login meets.
    LoginTest = "a test of a login" {
        /// The person or machine key.
        login / "login": Spanned<PersonName>,
        /// From which address.
        from / "from": Spanned<IpAddr>,
        /// To which host.
        to / "to": Spanned<HostName>,
        /// As which account.
        account / "as": Spanned<UnixUser>,
        /// What comes of it.
        expect / "expect": Spanned<Expect>,
    }
}

words! {
    /// What comes of it.
    Expect = "accept or drop" {
        /// Gets in.
        Accept / "accept",
        /// Does not.
        Drop / "drop",
    }
}

impl FromNode for Test {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        let login =
            matches!(&node.kind, Kind::Map(entries) if entries.iter().any(|(key, _)| key.text == "login"));
        match login {
            true => LoginTest::from_node(node, faults).map(Self::Login),
            false => PacketTest::from_node(node, faults).map(Self::Packet),
        }
    }

    fn shape() -> Shape {
        Shape::OneOf(&[PacketTest::shape, LoginTest::shape])
    }
}
