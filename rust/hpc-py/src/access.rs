//! Which role may send which kind of the kernel, for the table in the docs.

use hpc_core::domain::access::Role;
use hpc_core::domain::event::KernelKind;
use pyo3::prelude::*;

/// The kernel's kinds, each with the roles whose tokens may send it; the Hub's own have none.
#[pyfunction]
pub fn kernel_kinds() -> Vec<(&'static str, Vec<&'static str>)> {
    let senders = |kind: KernelKind| {
        let may = |role: Role| role.may_send(kind.sender(), Some(kind));
        let roles = Role::ALL.iter().filter(|(_, role)| may(*role));
        roles.map(|(name, _)| *name).collect()
    };
    let kinds = KernelKind::ALL.iter();
    kinds.map(|(name, kind)| (*name, senders(*kind))).collect()
}
