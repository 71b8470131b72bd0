//! A schema of its own on the PostgreSQL server of the test run.

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use sqlx::AssertSqlSafe;

/// URL of a fresh schema on the server that `METALMAN_TEST_DATABASE_URL` names. Without one it says
/// so and gives `None`; under `METALMAN_TEST_STRICT=1` that is a failure.
///
/// # Errors
/// When the server does not take it.
pub async fn fresh_schema(test: &str) -> Result<Option<String>> {
    #[expect(clippy::disallowed_methods, reason = "the environment of the test run")]
    let variable = |name: &str| std::env::var(name).ok();
    let Some(server) = variable("METALMAN_TEST_DATABASE_URL") else {
        let strict = variable("METALMAN_TEST_STRICT").as_deref() == Some("1");
        ensure!(!strict, "METALMAN_TEST_DATABASE_URL is not set");
        writeln!(
            std::io::stderr(),
            "SKIPPED: METALMAN_TEST_DATABASE_URL is not set"
        )
        .ok();
        return Ok(None);
    };
    let schema = format!("metalman_{test}_{}", std::process::id());
    sqlx::any::install_default_drivers();
    let options = sqlx::any::AnyPoolOptions::new().max_connections(1);
    let admin = options
        .connect(&server)
        .await
        .context("connect to the PostgreSQL server")?;
    let make = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(make)
        .execute(&admin)
        .await
        .context("make a schema")?;
    admin.close().await;
    let separator = if server.contains('?') { '&' } else { '?' };
    Ok(Some(format!(
        "{server}{separator}options=-c%20search_path%3D{schema}"
    )))
}
