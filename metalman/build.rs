//! Tells cargo that migrations are part of the program: `sqlx::migrate!` reads the folder, and a
//! new file in it would otherwise be missed until something else changes.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    writeln!(io::stdout(), "cargo::rerun-if-changed=migrations")
}
