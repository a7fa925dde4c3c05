//! Addresses by name, and the other end of a rule.

use ipnet::IpNet;

use crate::fault::{Fault, FaultCode, Faults, Spanned};
use crate::names::NetworkName;
use crate::scalars::DnsName;
use crate::shape::{FromNode, NonEmpty, Shape, section};
use crate::tree::{Kind, Node};

/// What a network's name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Network {
    /// Addresses and networks.
    Addresses(NonEmpty<Spanned<IpNet>>),
    /// DNS names, resolved on the host; outbound only (rule 8).
    Names(NetworkNames),
}

section! {
    /// A network by DNS names.
    NetworkNames = "a network by names" {
        /// At most 64 names, resolved on the host.
        names / "names": NonEmpty<Spanned<DnsName>>,
    }
}

impl FromNode for Network {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.kind {
            Kind::Map(_) => NetworkNames::from_node(node, faults).map(Self::Names),
            _ => NonEmpty::from_node(node, faults).map(Self::Addresses),
        }
    }

    fn shape() -> Shape {
        Shape::OneOf(&[NonEmpty::<IpNet>::shape, NetworkNames::shape])
    }
}

/// The other end of a rule: the word `anywhere` alone, or names. Never absent, never empty (rule 1).
#[derive(Debug, Clone, PartialEq)]
pub enum Peers {
    /// The word `anywhere`: every address of both families.
    Anywhere,
    /// Networks, hosts, profiles or bridges.
    Named(NonEmpty<Spanned<NetworkName>>),
}

impl FromNode for Peers {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        let names = NonEmpty::<Spanned<NetworkName>>::from_node(node, faults)?;
        let Some(anywhere) = names.iter().find(|name| name.as_str() == "anywhere") else {
            return Some(Self::Named(names));
        };
        if names.len() > 1 {
            let fault = Fault::new(&anywhere.at, FaultCode::BadValue, "anywhere stands beside other names");
            faults.push(fault.hint("anywhere holds all others: write [anywhere] alone, or leave it out"));
            return None;
        }
        Some(Self::Anywhere)
    }

    fn shape() -> Shape {
        NonEmpty::<NetworkName>::shape()
    }
}
