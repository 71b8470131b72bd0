//! The store on both databases: every body below runs on SQLite and, when a server is named, on
//! PostgreSQL.
//!
//! `METALMAN_TEST_DATABASE_URL` names a PostgreSQL server on which schemas may be created. Without
//! it the PostgreSQL half says so and passes, unless `METALMAN_TEST_STRICT=1`.

mod api;
mod journal;
mod observations;
mod permissions;
mod schema;

use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::Store;

/// An instant `micros` after a fixed one.
fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_000_000 + micros).expect("in range")
}

/// A fresh SQLite file; the folder lives as long as the second value.
async fn sqlite() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite:{}", folder.path().join("metalman.db").display());
    (
        Store::open(&url).await.expect("a fresh database opens"),
        folder,
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests learn their database from the environment"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A fresh schema on the server, or `None` with a word about it.
async fn postgres(test: &str) -> Option<Store> {
    let Some(server) = variable("METALMAN_TEST_DATABASE_URL") else {
        assert!(
            variable("METALMAN_TEST_STRICT").as_deref() != Some("1"),
            "METALMAN_TEST_DATABASE_URL is not set"
        );
        eprintln!("SKIPPED on PostgreSQL: METALMAN_TEST_DATABASE_URL is not set");
        return None;
    };
    let schema = format!("metalman_{test}_{}", std::process::id());
    sqlx::any::install_default_drivers();
    let admin = sqlx::any::AnyPoolOptions::new()
        .max_connections(1)
        .connect(&server)
        .await
        .expect("the PostgreSQL server answers");
    for statement in [
        format!("DROP SCHEMA IF EXISTS {schema} CASCADE"),
        format!("CREATE SCHEMA {schema}"),
    ] {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&admin)
            .await
            .expect("schema made");
    }
    admin.close().await;
    let mut url: url::Url = server.parse().expect("a URL");
    url.query_pairs_mut()
        .append_pair("options", &format!("-c search_path={schema}"));
    Some(
        Store::open(url.as_str())
            .await
            .expect("a fresh schema opens"),
    )
}

/// Removes the schema of a test that passed; a failed one leaves it for inspection.
async fn drop_schema(store: &Store, test: &str) {
    let schema = format!("metalman_{test}_{}", std::process::id());
    sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE")))
        .execute(store.pool())
        .await
        .expect("schema dropped");
    store.close().await;
}

#[tokio::test]
async fn a_database_has_one_owner_until_that_lets_go_or_dies() {
    let (own_file, _folder) = sqlite().await;
    assert!(own_file.own().await.expect("answers").is_some());
    let Some(store) = postgres("owner").await else {
        return;
    };
    let mut first = store.own().await.expect("answers").expect("nobody has it");
    assert!(store.own().await.expect("answers").is_none());
    first.check().await.expect("still ours");
    first.release().await;
    let second = store.own().await.expect("answers").expect("it was let go");
    // As when the process is killed: the connection just ends.
    drop(second);
    let third = async {
        loop {
            if let Some(third) = store.own().await.expect("answers") {
                break third;
            }
        }
    };
    let third = tokio::time::timeout(std::time::Duration::from_secs(20), third);
    third.await.expect("in time").release().await;
    drop_schema(&store, "owner").await;
}

macro_rules! on_both_databases {
    ($($group:ident :: $name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                let (store, _folder) = super::sqlite().await;
                super::$group::$name(&store).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                if let Some(store) = super::postgres(stringify!($name)).await {
                    super::$group::$name(&store).await;
                    super::drop_schema(&store, stringify!($name)).await;
                }
            })+
        }
    };
}

on_both_databases! {
    journal::a_step_is_written_whole_and_read_back,
    journal::a_stale_step_writes_nothing,
    journal::of_two_steps_from_one_version_one_wins,
    journal::an_action_ends_once,
    journal::steps_of_many_are_written_together_and_fail_alone,
    journal::steps_of_one_call_are_all_written_or_none,
    journal::seq_counts_up_within_a_target,
    journal::deleting_an_operation_takes_its_actions,
    permissions::a_token_is_claimed_by_one_boot_only,
    permissions::a_token_tells_why_it_refuses,
    permissions::of_many_claims_at_once_one_wins,
    permissions::live_tokens_survive_their_expiry_once_claimed,
    permissions::capabilities_are_revoked_per_machine,
    permissions::a_boot_is_new_once,
    permissions::a_refused_password_is_remembered_per_version,
    permissions::the_first_certificate_is_pinned,
    permissions::a_bmc_keeps_its_last_reading,
    observations::a_batch_reaches_every_table,
    observations::the_timeline_pages_back_and_follows,
    observations::the_timeline_keeps_the_newest,
    observations::chatty_progress_does_not_push_out_other_evidence,
    observations::evidence_is_newer_than_the_start,
    observations::unknown_cards_are_counted,
    observations::the_audit_log_pages_backwards,
    api::changes_of_one_commit_are_all_logged_and_the_last_one_counts,
    api::a_commit_from_another_version_writes_nothing,
    observations::concurrent_writers_leave_no_gap_for_followers,
    schema::the_site_view_is_replaced_whole,
    schema::many_objects_are_replaced_at_once,
    schema::lines_for_dhcp_come_in_pieces,
    schema::an_impossible_row_is_named,
    schema::the_database_refuses_unknown_words,
    schema::text_of_any_kind_round_trips,
}
