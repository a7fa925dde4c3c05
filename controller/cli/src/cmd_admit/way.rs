//! Where signed admissions and revocations go: to the controller, or into a list for a machine's drop directory.

use std::path::PathBuf;

use hyper::Method;
use tenure_trust::admission::{MAX_ADMISSIONS, verify_admission};
use tenure_trust::{Admission, AdmissionList, HostName, MachineRole, Order, Root, Signed, Verified, neutral};

use crate::failure::Failure;
use crate::files;
use crate::remote::Remote;

/// The most bytes of a list: 2 KiB for each.
pub(crate) const LIST: u64 = (MAX_ADMISSIONS as u64) * 2048;

/// Arguments of every command that brings one.
#[derive(Debug, clap::Args)]
pub(super) struct Way {
    /// Do not bring it to the controller: add it to this list, to be carried into the drop directory of machines as
    /// admissions.json
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) remote: Remote,
}

impl Way {
    /// The list as it stands.
    pub(super) fn list(&self, doing: &str) -> Result<AdmissionList, Failure> {
        let Some(path) = &self.out else { return self.remote.get(doing, "/api/v1/admissions") };
        let Some(bytes) = files::read_if_there(path, LIST)? else { return Ok(AdmissionList::default()) };
        serde_json::from_slice(&bytes).map_err(|error| {
            let doing = format!("read the list of admissions {}", path.display());
            Failure::new(doing, &error).hint("name a list that `tenure admit --out` wrote, or a new file")
        })
    }

    /// The latest admission of a name and role. Only for what it replaces: machines judge for themselves.
    pub(super) fn held(
        &self,
        name: &HostName,
        role: MachineRole,
        doing: &str,
    ) -> Result<Option<Admission>, Failure> {
        let list = self.list(doing)?;
        let stated = list.admissions.iter().filter_map(|text| {
            Signed::<Admission>::parse(text.as_bytes()).and_then(|signed| signed.unverified()).ok()
        });
        let own = stated.filter(|admission| admission.name == *name && admission.role == role);
        Ok(own.max_by_key(|admission| (admission.epoch, admission.issued)))
    }

    /// Does nobody else hear of it?
    pub(super) fn is_offline(&self) -> bool {
        self.out.is_some()
    }

    /// Who holds it, for people.
    pub(super) fn holder(&self) -> String {
        match &self.out {
            Some(path) => neutral(&path.display().to_string()),
            None => "the controller".to_owned(),
        }
    }

    /// Brings an admission, once it is known that machines with this root will take it.
    pub(super) fn admit(
        &self,
        signed: &Signed<Admission>,
        root: Option<&Verified<Root>>,
        doing: &str,
    ) -> Result<(), Failure> {
        let text = signed.to_json();
        if let Some(root) = root {
            verify_admission(root, text.as_bytes()).map_err(|why| Failure::refused(doing, &why))?;
        }
        self.bring(doing, "/api/v1/admissions", text, |list| &mut list.admissions)
    }

    /// Brings a revocation.
    pub(super) fn revoke(&self, signed: &Signed<Order>, doing: &str) -> Result<(), Failure> {
        self.bring(doing, "/api/v1/revocations", signed.to_json(), |list| &mut list.revocations)
    }

    fn bring(
        &self,
        doing: &str,
        place: &str,
        text: String,
        of: impl FnOnce(&mut AdmissionList) -> &mut Vec<String>,
    ) -> Result<(), Failure> {
        let Some(path) = &self.out else {
            let told = self.remote.send(doing, Method::POST, place, text.into_bytes());
            return told.map(|_: serde_json::Value| ());
        };
        let mut list = self.list(doing)?;
        of(&mut list).push(text);
        let bytes = serde_json::to_vec(&list).map_err(|error| Failure::new(doing, &error))?;
        files::replace(path, &bytes, 0o644)
    }
}
