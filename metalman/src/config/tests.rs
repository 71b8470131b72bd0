use clap::{Args as _, Command};
use secrecy::ExposeSecret as _;

use super::{wire::flag_of, *};

fn check(text: &str) -> Result<Config, Problems> {
    Config::try_from(parse(text).unwrap())
}

fn problems(text: &str) -> String {
    check(text).unwrap_err().to_string()
}

#[test]
fn example_file() {
    insta::assert_snapshot!(example());
}

#[test]
fn the_example_parses_and_means_the_same_as_an_empty_file() {
    let empty = format!("{:?}", check("").unwrap());
    assert_eq!(format!("{:?}", check(&example()).unwrap()), empty);
}

#[test]
fn every_flag_is_its_key_path_with_hyphens() {
    let command = WireConfig::augment_args(Command::new("test"));
    for arg in command.get_arguments() {
        let flag = format!("--{}", arg.get_long().unwrap());
        assert_eq!(flag, flag_of(arg.get_id().as_str()));
        assert!(arg.get_help().is_some(), "{flag} has no help");
    }
}

#[test]
fn every_key_of_the_example_is_known_when_it_is_set() {
    for line in example().lines().filter_map(|line| line.strip_prefix("# ")) {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        if key.contains(' ') {
            continue;
        }
        let top = parse(line).is_ok();
        let below = ["dhcp", "http", "images"]
            .iter()
            .any(|table| parse(&format!("[{table}]\n{line}")).is_ok());
        assert!(top || below, "{line} is not a setting");
    }
}

#[test]
fn all_mistakes_are_reported_together_with_key_value_and_cure() {
    insta::assert_snapshot!(problems(
        r#"
        site = "-rack"
        bind_address = "10.0.0"
        serve_url = "https://10.0.0.1"
        apiserver_url = "http://10.0.0.1"
        standalone = true
        kubeconfig = "/etc/kubeconfig"
        database_url = "postgres://metalman:hunter2@db/metalman"
        stop_timeout = "1h"
        [dhcp]
        interface = "a-name-that-is-too-long"
        auto_interface = true
        port = 70000
        relays = ["10.0.0.1", "10.0.0.300"]
        known_servers = ["dhcp.example"]
        ntp_servers = ["10.0.0.1", ""]
        domain = "rack_a"
        [images]
        plain_http_hosts = ["http://registry"]
        trusted_hosts = ["a b"]
        mirrors = ["docker.io"]
        pull_secret_file = "/nonexistent/config.json"
        cosign_public_key_file = "/nonexistent/cosign.pub"
        cache_size = "50 gigs"
        [http]
        port = 8081
        [operation]
        max_attempts = 0
        poll_interval = "soon"
        [log]
        format = "xml"
        filter = "metalman=loud"
        "#
    ));
}

#[test]
fn a_password_is_never_shown() {
    assert!(!problems("database_url = 'postgres://u:hunter2@h/d'").contains("hunter2"));
    assert!(!problems("database_url = 'mysql://u:hunter2@h/d'").contains("hunter2"));
}

#[test]
fn an_unknown_key_and_a_wrong_type_name_the_key_path() {
    let error = format!("{:#}", parse("[dhcp]\nport = \"67\"").unwrap_err());
    assert!(error.contains("key dhcp.port"), "{error}");
    let error = format!("{:#}", parse("[dhcp]\nprot = 67").unwrap_err());
    assert!(error.contains("unknown field `prot`"), "{error}");
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("metalman.toml");
    std::fs::write(
        &file,
        "site = 'a'\n[http]\nport = 1000\n[tftp]\nport = 2000",
    )
    .unwrap();
    let mut flags = WireConfig {
        site: Some("b".to_owned()),
        ..WireConfig::default()
    };
    flags.http.port = Some(3000);
    let config = ConfigArgs {
        file: Some(file),
        flags,
    }
    .load()
    .unwrap();
    assert_eq!(
        (
            config.site.as_str(),
            config.http_port,
            config.tftp_port,
            config.health_port
        ),
        ("b", 3000, 2000, 8081)
    );
}

#[test]
fn tls_needs_a_port_and_both_files() {
    assert_eq!(check("").unwrap().http_tls, None);
    let tls = check("[http]\ntls_port = 8843").unwrap().http_tls.unwrap();
    assert_eq!((tls.port, tls.identity, tls.boot), (8843, None, false));
    let tls = check(
        "[http]\ntls_port = 1\ntls_certificate_file = '/a'\ntls_key_file = '/b'\ntls_boot = true",
    );
    let tls = tls.unwrap().http_tls.unwrap();
    assert_eq!(tls.identity, Some(("/a".into(), "/b".into())));
    assert!(tls.boot);
    assert!(problems("[http]\ntls_boot = true").contains("set http.tls_port"));
    assert!(problems("[http]\ntls_key_file = '/b'").contains("has no certificate"));
    assert!(problems("[http]\ntls_certificate_file = '/b'").contains("has no key"));
    assert!(problems("[http]\ntls_port = 8880").contains("http.port is the same"));
}

#[test]
fn the_dhcp_mode_follows_from_the_interface_settings() {
    assert_eq!(check("").unwrap().dhcp, DhcpMode::Relay);
    assert_eq!(
        check("[dhcp]\nauto_interface = true").unwrap().dhcp,
        DhcpMode::AutoInterface
    );
    let named = check("[dhcp]\ninterface = 'br0'").unwrap().dhcp;
    assert_eq!(named, DhcpMode::Interface("br0".to_owned()));
}

#[test]
fn the_database_url_may_come_from_a_file_and_stays_out_of_debug() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, "postgres://u:hunter2@h/d\n").unwrap();
    let config = check(&format!("database_url_file = {file:?}")).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let DatabaseConfig::Secret(url) = config.database else {
        panic!("not a secret")
    };
    assert_eq!(url.expose_secret(), "postgres://u:hunter2@h/d");
}

#[test]
fn the_store_and_the_cache_are_in_the_state_folder_unless_said_otherwise() {
    let config = check("state_dir = '/srv/m'").unwrap();
    assert_eq!(config.cache_dir, Path::new("/srv/m/cache"));
    let DatabaseConfig::Url(url) = config.database else {
        panic!("not plain")
    };
    assert_eq!(url, "sqlite:///srv/m/metalman.db");
}

#[test]
fn image_settings_are_checked_with_the_files_they_name() {
    let images = check("").unwrap().images;
    assert_eq!(images.cache_size, 50 << 30);
    assert_eq!(images.refresh_interval, std::time::Duration::from_mins(5));
    for (text, bytes) in [("500MB", 500_000_000), ("2 TiB", 2 << 40)] {
        let images = check(&format!("[images]\ncache_size = '{text}'")).unwrap();
        assert_eq!(images.images.cache_size, bytes);
    }
    for text in ["50", "-1GiB", "1.5GiB", "1MiB", "99999999999TiB", ""] {
        let problem = problems(&format!("[images]\ncache_size = '{text}'"));
        assert!(problem.contains("images.cache_size"), "{problem}");
    }
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("config.json");
    std::fs::write(&secret, r#"{"auths":{"r":{"auth":["hunter2"]}}}"#).unwrap();
    let problem = problems(&format!("[images]\npull_secret_file = {secret:?}"));
    assert!(problem.contains("images.pull_secret_file"), "{problem}");
    assert!(!problem.contains("hunter2"), "{problem}");
    let key = dir.path().join("cosign.pub");
    std::fs::write(
        &key,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    )
    .unwrap();
    let problem = problems(&format!("[images]\ncosign_public_key_file = {key:?}"));
    assert!(problem.contains("P-256"), "{problem}");
}
