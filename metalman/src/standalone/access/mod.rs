//! Who may do what: users, roles, tokens, and the questions clients ask about them.
//!
//! A request is authenticated (`tokens`), described (`attributes`) and decided (`roles`); what an
//! agent's write changed is decided again before it is kept (`guard`). Invariant: whatever is not
//! in the table of roles is refused.

mod attributes;
mod guard;
mod reviews;
mod roles;
mod tokens;
mod user;

pub use attributes::{Attributes, Verb};
pub use guard::may_change;
pub use reviews::{Asked, REVIEWS, answer};
pub use roles::{Decision, Only, RULES, Rule, allows, describe};
pub use tokens::{Access, minted, random_token};
pub use user::{Role, User};
