//! What a path shows at this moment.

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{facts, live, query::Query, tasks};
use crate::bmc::{Bmc, State};
use crate::faults::merge;
use crate::profile::EtagMode;
use crate::tree::{Keeps, Live, Needs, Node, address};

/// A resource as it stands, and what can be done with it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) body: Value,
    pub(super) etag: Option<String>,
    pub(super) thing: Thing,
    pub(super) allow: &'static str,
}

/// What a path leads to.
#[derive(Debug, Clone)]
pub(super) enum Thing {
    Resource {
        live: Live,
        writable: Map<String, Value>,
    },
    List(Option<Keeps>),
    Session(u64),
    Account(u64),
    Task(u64),
    Entry,
}

/// The resource at a path below `/redfish/v1`; `None` if there is none.
pub(super) fn view(bmc: &Bmc, state: &State, path: &str, query: &Query) -> Option<View> {
    let (body, thing) = match bmc.tree.get(path) {
        Some(node) => (node_body(bmc, state, path, node, query)?, thing(node)),
        None => kept(bmc, state, path)?,
    };
    let allow = allow(&thing);
    Some(tagged(bmc, state, body, thing, allow))
}

fn thing(node: &Node) -> Thing {
    if node.is_collection {
        Thing::List(node.keeps)
    } else {
        Thing::Resource {
            live: node.live,
            writable: node.writable.clone(),
        }
    }
}

fn allow(thing: &Thing) -> &'static str {
    match thing {
        Thing::Resource { writable, .. } if writable.is_empty() => "GET, HEAD",
        Thing::Resource { .. } => "GET, HEAD, PATCH",
        Thing::List(Some(Keeps::Sessions | Keeps::Accounts)) => "GET, HEAD, POST",
        Thing::List(_) | Thing::Task(_) | Thing::Entry => "GET, HEAD",
        Thing::Session(_) => "GET, HEAD, DELETE",
        Thing::Account(_) => "GET, HEAD, PATCH, DELETE",
    }
}

/// Whether the machine has what the resource needs.
fn has(bmc: &Bmc, node: &Node) -> bool {
    match node.needs {
        None => true,
        Some(Needs::Nic) => node.number <= bmc.identity.macs.len(),
        Some(Needs::Drive) => node.number <= bmc.identity.drives.len(),
    }
}

fn node_body(bmc: &Bmc, state: &State, path: &str, node: &Node, query: &Query) -> Option<Value> {
    if !has(bmc, node) {
        return None;
    }
    let mut body = node.body.clone();
    facts::fill(&mut body, bmc, state, node.number);
    if node.is_collection {
        let members = members(bmc, state, path, node.keeps);
        page(&mut body, bmc, state, path, &members, query);
        return Some(body);
    }
    drop_dead_drives(&mut body, bmc);
    live::add(&mut body, bmc, state, path, node.live);
    if let Some(written) = state.written.get(path) {
        merge(&mut body, written);
    }
    Some(body)
}

/// Links to drives that this machine has not got.
fn drop_dead_drives(body: &mut Value, bmc: &Bmc) {
    let Some(links) = body.get_mut("Drives").and_then(Value::as_array_mut) else {
        return;
    };
    links.truncate(bmc.identity.drives.len());
    let count = links.len();
    if let Some(properties) = body.as_object_mut() {
        properties.insert("Drives@odata.count".to_owned(), json!(count));
    }
}

/// Paths of the members of a collection.
fn members(bmc: &Bmc, state: &State, path: &str, keeps: Option<Keeps>) -> Vec<String> {
    let numbered = |ids: Vec<u64>| ids.iter().map(|id| format!("{path}/{id}")).collect();
    match keeps {
        None => bmc
            .tree
            .below(path)
            .into_iter()
            .filter(|(_, node)| has(bmc, node))
            .map(|(path, _)| path.to_owned())
            .collect(),
        Some(Keeps::Sessions) => numbered(state.sessions.ids()),
        Some(Keeps::Accounts) => numbered(state.accounts.ids()),
        Some(Keeps::Tasks) => numbered(state.tasks.ids()),
        Some(Keeps::Entries) => {
            let mut numbers = state.sel.numbers();
            if bmc.profile.sel_newest_first {
                numbers.reverse();
            }
            numbers
                .iter()
                .map(|number| format!("{path}/{number}"))
                .collect()
        }
    }
}

fn page(body: &mut Value, bmc: &Bmc, state: &State, path: &str, members: &[String], query: &Query) {
    let size = query
        .top
        .unwrap_or(bmc.profile.page)
        .min(bmc.profile.page.max(1));
    let shown = members.iter().skip(query.skip).take(size);
    // Entries are shown whole, as real services do; other members are links unless expanded.
    let is_whole = query.expand || path.ends_with("/Entries");
    let list: Vec<Value> = shown
        .map(|member| {
            let whole = is_whole
                .then(|| view(bmc, state, member, &Query::default()))
                .flatten();
            whole.map_or_else(|| json!({"@odata.id": address(member)}), |view| view.body)
        })
        .collect();
    let Some(properties) = body.as_object_mut() else {
        return;
    };
    let next = query.skip + list.len();
    properties.insert("Members@odata.count".to_owned(), json!(members.len()));
    properties.insert("Members".to_owned(), json!(list));
    if next < members.len() && query.top.is_none() {
        let link = format!("{}?$skip={next}", address(path));
        properties.insert("Members@odata.nextLink".to_owned(), json!(link));
    }
}

/// A member of a list that lives in memory.
fn kept(bmc: &Bmc, state: &State, path: &str) -> Option<(Value, Thing)> {
    let (parent, id) = path.rsplit_once('/')?;
    let keeps = bmc.tree.get(parent)?.keeps?;
    let id: u64 = id.parse().ok()?;
    let (mut body, thing) = match keeps {
        Keeps::Sessions => {
            let account = state.accounts.get(state.sessions.owner(id)?);
            let body = json!({
                "@odata.type": "#Session.v1_7_1.Session",
                "Id": id.to_string(),
                "Name": "Session",
                "UserName": account.map(|account| account.user.as_str()),
                "Password": null,
            });
            (body, Thing::Session(id))
        }
        Keeps::Accounts => {
            let account = state.accounts.get(id)?;
            let role = account.role.name();
            let body = json!({
                "@odata.type": "#ManagerAccount.v1_12_0.ManagerAccount",
                "Id": id.to_string(),
                "Name": "User Account",
                "UserName": account.user,
                "Password": null,
                "PasswordChangeRequired": account.must_change,
                "RoleId": role,
                "Enabled": account.is_enabled,
                "Locked": account.is_locked(Instant::now()),
                "AccountTypes": ["Redfish"],
                "Links": {"Role": {"@odata.id": address(&format!("AccountService/Roles/{role}"))}},
            });
            (body, Thing::Account(id))
        }
        Keeps::Tasks => (tasks::resource(id, state.tasks.peek(id)?), Thing::Task(id)),
        Keeps::Entries => {
            let mut body = state.sel.entry(usize::try_from(id).ok()?)?;
            if let Some(properties) = body.as_object_mut() {
                properties.insert(
                    "@odata.type".to_owned(),
                    json!("#LogEntry.v1_16_0.LogEntry"),
                );
            }
            (body, Thing::Entry)
        }
    };
    if let Some(properties) = body.as_object_mut() {
        properties.insert("@odata.id".to_owned(), json!(address(path)));
    }
    Some((body, thing))
}

fn tagged(bmc: &Bmc, state: &State, mut body: Value, thing: Thing, allow: &'static str) -> View {
    let mut content = body.to_string();
    if let Thing::Account(id) = thing {
        // A new password is a new version of an account that shows none.
        let password = state
            .accounts
            .get(id)
            .map(|account| account.password.clone());
        content.push_str(&password.unwrap_or_default());
    }
    let tag = format!("\"{:016x}\"", hash(content.as_bytes()));
    let etag = match bmc.profile.etag {
        EtagMode::None => None,
        EtagMode::Weak => Some(format!("W/{tag}")),
        EtagMode::Strong | EtagMode::Required | EtagMode::Refused => Some(tag),
    };
    if let (Some(tag), Some(properties)) = (&etag, body.as_object_mut()) {
        properties.insert("@odata.etag".to_owned(), json!(tag));
    }
    live::add_clock(&mut body, &thing);
    View {
        body,
        etag,
        thing,
        allow,
    }
}

/// FNV-1a: stable, and no claim beyond that.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
