//! The parties whose data the fleet holds: contract, promises, stores, classes.

use jiff::civil::Date;
use tenure_trust::HostName;

use crate::calendar::Period;
use crate::fault::{Fault, FaultCode, Faults, Spanned, is_hostile};
use crate::names::UnixUser;
use crate::plain;
use crate::scalars::{AbsolutePath, ClassName, DutyName, Frequency, SqlName, StoreName, Text};
use crate::shape::{FromNode, Map, NonEmpty, Nullable, ScalarKind, ScalarShape, Shape, section, words};
use crate::tree::{Kind, Node};

section! {
    /// A party whose data the fleet holds under contract. It can narrow, demand and add duties; never open.
    Tenant = "a tenant" {
        /// What was agreed.
        contract / "contract": Spanned<Contract>,
        /// Sentences of the contract, and the duty that each means.
        promises / "promises": Vec<Spanned<Promise>>,
        /// Where its data lives.
        stores / "stores": Map<StoreName, Store>,
        /// Kinds of its data, and how long they are kept.
        classes / "classes": Map<ClassName, Class>,
    }
}

section! {
    /// What was agreed.
    Contract = "a contract" {
        /// What the fleet is to the data.
        role / "role": Spanned<ContractRole>,
        /// Its first day.
        started / "started": Spanned<Date>,
        /// Its last day, or null while it runs; starts clocks, deletes nothing.
        ends / "ends": Nullable<Spanned<Date>>,
        /// After the end all data is gone within this.
        purge_within / "purge_within": Spanned<Period>,
        /// A breach is told within this.
        breach_notice_within / "breach_notice_within": Spanned<Period>,
        /// Whom to tell.
        contact / "contact": Spanned<Text>,
        /// The day of the terms that hold.
        terms / "terms": Spanned<Date>,
        /// The day of the terms that they replace.
        supersedes / "supersedes": Option<Spanned<Date>>,
    }
}

words! {
    /// What the fleet is to the data (GDPR articles 4, 26 and 28).
    ContractRole = "a role in data protection" {
        /// Article 28.
        Processor / "processor",
        /// Article 26.
        JointController / "joint-controller",
        /// Article 4 (7).
        Controller / "controller",
        /// Article 28 (4).
        SubProcessor / "sub-processor",
    }
}

section! {
    /// A sentence of the contract, and the duty that it means.
    Promise = "a promise" {
        /// Their words.
        says / "says": Spanned<Text>,
        /// The duty.
        means / "means": Spanned<DutyName>,
        /// How often at least, for duties that are counted.
        at_least / "at_least": Option<Spanned<Frequency>>,
        /// Within which period, for duties with a deadline.
        within / "within": Option<Spanned<Period>>,
    }
}

section! {
    /// A place where data lives; it has exactly one tenant.
    Store = "a store" {
        /// On which host.
        host / "host": Spanned<HostName>,
        /// Which directory; or a database.
        path / "path": Option<Spanned<AbsolutePath>>,
        /// The local user who owns the directory.
        user / "user": Option<Spanned<UnixUser>>,
        /// Which of the host's databases; or a path.
        database / "database": Option<Spanned<SqlName>>,
        /// Which schema of it.
        schema / "schema": Option<Spanned<SqlName>>,
        /// Whether others' rows stand in the same tables.
        shared / "shared": Option<Spanned<bool>>,
        /// Table → which of its rows are theirs.
        filter / "where": Map<SqlName, Filter>,
    }
}

/// Column → what it must be.
pub type Filter = Map<SqlName, FilterValue>;

/// What a column must be: never SQL text (rule 12).
#[derive(Debug, Clone, PartialEq)]
pub enum FilterValue {
    /// One of these.
    Among(NonEmpty<Spanned<Literal>>),
    /// Matching this pattern.
    Like(Like),
    /// NULL.
    Null,
}

section! {
    /// A pattern of SQL's LIKE.
    Like = "a pattern" {
        /// `%` is any text, `_` one character.
        like / "like": Spanned<Text>,
    }
}

impl FromNode for FilterValue {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => Like::from_node(node, faults).map(Self::Like),
            _ if node.is_null() => Some(Self::Null),
            _ => NonEmpty::from_node(node, faults).map(Self::Among),
        }
    }

    fn shape() -> Shape {
        Shape::Nullable(|| Shape::OneOf(&[NonEmpty::<Literal>::shape, Like::shape]))
    }
}

/// A value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A truth value.
    Bool(bool),
}

const LITERAL: ScalarShape =
    ScalarShape { what: "a text, a whole number, true or false", kind: ScalarKind::Literal, words: &[] };

impl FromNode for Literal {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        let refuse = |faults: &mut Faults, code, what: String| {
            faults.push(Fault::new(&node.at, code, what));
            None
        };
        match &node.kind {
            Kind::Bad => None,
            _ if node.is_null() => {
                refuse(faults, FaultCode::NoValue, format!("null where {} must stand", LITERAL.what))
            }
            Kind::Scalar { text, plain: true } if text == "true" => Some(Self::Bool(true)),
            Kind::Scalar { text, plain: true } if text == "false" => Some(Self::Bool(false)),
            Kind::Scalar { text, plain: true } if plain::is_integer(text) => match text.parse() {
                Ok(number) => Some(Self::Integer(number)),
                Err(_) => {
                    refuse(faults, FaultCode::BadValue, format!("{text} is too large for a whole number"))
                }
            },
            Kind::Scalar { text, plain: true } if plain::is_float(text) => refuse(
                faults,
                FaultCode::MustQuote,
                format!("{text} must be quoted: fractions are texts here"),
            ),
            Kind::Scalar { text, .. } if text.len() > 2000 => {
                refuse(faults, FaultCode::BadValue, "a text of more than 2000 bytes".to_owned())
            }
            Kind::Scalar { text, .. } if text.chars().any(|c| c != '\n' && is_hostile(c)) => {
                refuse(faults, FaultCode::BadValue, "a text with control or invisible characters".to_owned())
            }
            Kind::Scalar { text, .. } => Some(Self::Text(text.clone())),
            other => refuse(
                faults,
                FaultCode::NotAValue,
                format!("expected {}, found {}", LITERAL.what, other.name()),
            ),
        }
    }

    fn shape() -> Shape {
        Shape::Scalar(&LITERAL)
    }
}

section! {
    /// A kind of data, and how long it is kept.
    Class = "a class" {
        /// In which store.
        store / "in": Spanned<StoreName>,
        /// Which table, in a database.
        table / "table": Option<Spanned<SqlName>>,
        /// Only these rows.
        only / "only": Filter,
        /// All rows but these.
        except / "except": Filter,
        /// The column that says how old a row is.
        age_from / "age_from": Option<Spanned<SqlName>>,
        /// Kept at least this long.
        keep_at_least / "keep_at_least": Option<Spanned<Period>>,
        /// Kept at most this long.
        keep_at_most / "keep_at_most": Option<Spanned<Period>>,
        /// What happens at the end; `check` when left out.
        then / "then": Option<Spanned<Action>>,
        /// For `anonymise`: column → new value.
        set / "set": Map<SqlName, Nullable<Literal>>,
        /// Who does it, where the application does.
        done_by / "done_by": Option<Spanned<Text>>,
    }
}

impl Class {
    /// What happens at the end (rule 11): what nobody has written down changes nothing.
    pub fn action(&self) -> Action {
        self.then.as_ref().map_or(Action::Check, |then| then.value)
    }
}

words! {
    /// What happens to data past its term.
    Action = "check, anonymise or delete" {
        /// We measure, the application acts.
        Check / "check",
        /// Columns are set to other values.
        Anonymise / "anonymise",
        /// Rows or files go.
        Delete / "delete",
    }
}
