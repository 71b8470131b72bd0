//! Values that become boot files, and templates of strangers: no value adds a word, and no
//! template runs for ever or prints text that nobody quoted.

use std::{net::Ipv4Addr, sync::OnceLock};

use serde_json::{Value, json};

use super::words::{Token, grub_tokens, kernel_arguments};
use crate::{
    directory::{Architecture, BootProtocol},
    render::{
        BootContext, InstallContext, InterfaceContext, MachineContext, Marks, SeedContext,
        ServerContext, TemplateSet, render_boot, render_seed,
    },
};

/// Ends a field; never part of UTF-8.
const SEPARATOR: u8 = 0xfe;
/// Stands for a value whose fate is watched.
const MARK: &str = "wAtChEdVaLuE";
const MARK_FORMS: [&str; 4] = ["watchedvalue", "eulavdehctaw", "watchedval", "dvalue"];

/// What a stranger may choose.
struct Values {
    name: String,
    token: String,
    url: String,
    user_data: String,
    source: String,
}

/// Fields, separated: name, token, server URL, user data, and the source of a template.
pub fn template(data: &[u8]) {
    let mut fields = data
        .splitn(5, |byte| *byte == SEPARATOR)
        .map(|field| String::from_utf8_lossy(field).into_owned());
    let mut next = || fields.next().unwrap_or_default();
    let values = Values {
        name: next(),
        token: next(),
        url: next(),
        user_data: next(),
        source: next(),
    };
    boot_holds(&values);
    seed_holds(&values);
    source_holds(&values.source);
}

fn built_in() -> &'static TemplateSet {
    static BUILT_IN: OnceLock<TemplateSet> = OnceLock::new();
    BUILT_IN.get_or_init(TemplateSet::built_in)
}

fn boot_context(name: &str, url: &str, token: Option<&str>, extra: Value) -> BootContext {
    let address = Ipv4Addr::new(10, 77, 0, 1);
    BootContext {
        machine: machine_context(name),
        server: ServerContext {
            http_url: url.to_owned(),
            address,
            port: 8880,
        },
        install: token.map(|token| InstallContext {
            token: token.to_owned(),
        }),
        extra,
    }
}

fn machine_context(name: &str) -> MachineContext {
    let address = Ipv4Addr::new(10, 77, 0, 1);
    MachineContext {
        name: name.to_owned(),
        mac: crate::mac::MacAddr::new([0x52, 0x54, 0, 0x77, 0, 0x11]),
        ipv4: Ipv4Addr::new(10, 77, 0, 11),
        subnet_mask: Ipv4Addr::new(255, 255, 255, 0),
        prefix: 24,
        gateway: Some(address),
        dns: vec![address],
        architecture: Architecture::Amd64,
        protocol: BootProtocol::Pxe,
    }
}

/// `grub.cfg` has the same words for these values as for plain ones.
fn boot_holds(values: &Values) {
    for install in [false, true] {
        let token = install.then_some(values.token.as_str());
        let hostile = boot_context(&values.name, &values.url, token, json!({}));
        let rendered = render_boot(built_in(), "grub/grub.cfg", &hostile);
        let quotable = |text: &str| !text.chars().any(char::is_control);
        let argument = |text: &str| {
            text.chars()
                .all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\'))
        };
        let arguments = !install || (argument(&values.token) && argument(&values.url));
        let good = quotable(&values.name) && quotable_comment(&values.name) && arguments;
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(error) => {
                assert!(!good, "refuses good values: {error}");
                assert!(
                    error.line().is_some() && error.variable().is_some(),
                    "{error}"
                );
                continue;
            }
        };
        assert!(good, "accepts what cannot be quoted");
        let plain = boot_context("Nqqqq", "Uqqqq", install.then_some("Tqqqq"), json!({}));
        let plain = render_boot(built_in(), "grub/grub.cfg", &plain).expect("renders");
        let want: Vec<Token> = tokens(&plain.bytes)
            .into_iter()
            .map(|token| put(token, values))
            .collect();
        assert_eq!(tokens(&rendered.bytes), want, "other words");
        if install {
            kernel_holds(&want);
        }
    }
}

fn quotable_comment(text: &str) -> bool {
    !text.contains(['\u{85}', '\u{2028}', '\u{2029}'])
}

fn tokens(script: &[u8]) -> Vec<Token> {
    let script = std::str::from_utf8(script).expect("UTF-8");
    grub_tokens(script).expect("all quotes are closed")
}

fn put(token: Token, values: &Values) -> Token {
    match token {
        Token::Word { text, expands } => Token::Word {
            text: text
                .replace("Nqqqq", &values.name)
                .replace("Uqqqq", &values.url)
                .replace("Tqqqq", &values.token),
            expands,
        },
        meta @ Token::Meta(_) => meta,
    }
}

/// What GRUB passes to Linux is read by Linux as the same arguments.
fn kernel_holds(tokens: &[Token]) {
    let mut words = tokens.iter().map(|token| match token {
        Token::Word { text, .. } => Some(text.clone()),
        Token::Meta(_) => None,
    });
    while let Some(word) = words.next() {
        if word.as_deref() == Some("linux") {
            let arguments: Vec<String> = words.by_ref().map_while(|word| word).skip(1).collect();
            assert_eq!(kernel_arguments(&arguments.join(" ")), arguments);
        }
    }
}

/// The seed is YAML that says these values and nothing else.
fn seed_holds(values: &Values) {
    let context = SeedContext {
        machine: machine_context(&values.name),
        interfaces: vec![InterfaceContext {
            name: "lan0".to_owned(),
            mac: crate::mac::MacAddr::new([0x52, 0x54, 0, 0x77, 0, 0x11]),
            addresses: vec![values.token.clone()],
            gateway: None,
            dns: vec![],
            mtu: None,
        }],
        instance_id: values.token.clone(),
        hostname: values.name.clone(),
        boot_report_url: values.url.clone(),
        cloud_init_url: values.url.clone(),
        user_data: Some(values.user_data.clone()),
        extra: json!({}),
    };
    let seed = render_seed(built_in(), &context).expect("any text can stand in YAML");
    assert_eq!(
        seed.user_data, values.user_data,
        "user data is passed on untouched"
    );
    let read = |text: &str| -> Value { yaml::from_str(text).expect("valid YAML") };
    let meta = json!({ "instance-id": values.token, "local-hostname": values.name });
    assert_eq!(read(&seed.meta_data), meta);
    let vendor = read(&seed.vendor_data);
    let endpoint = vendor.pointer("/reporting/metalman/endpoint");
    assert_eq!(endpoint, Some(&json!(values.url)));
    let network = read(&seed.network_config);
    let addresses = network.pointer("/ethernets/lan0/addresses");
    assert_eq!(addresses, Some(&json!([values.token])));
}

/// A template of a stranger ends, stays small, and prints a value only through a filter.
fn source_holds(source: &str) {
    let set = TemplateSet::compile(
        vec![("x.cfg.j2".to_owned(), source.to_owned())],
        Marks::Absent,
    );
    let context = boot_context(
        MARK,
        MARK,
        Some(MARK),
        json!({ "site": [MARK], MARK: MARK }),
    );
    let Ok(rendered) = render_boot(&set, "x.cfg", &context) else {
        return;
    };
    assert!(rendered.bytes.len() <= 1 << 20);
    let filters = ["grub", "shell", "yaml", "comment", "verbatim"];
    if !filters.iter().any(|filter| source.contains(filter)) {
        let text = String::from_utf8_lossy(&rendered.bytes).to_lowercase();
        let leaks = MARK_FORMS.iter().find(|form| text.contains(**form));
        let own = source.to_lowercase();
        assert!(
            leaks.is_none_or(|form| own.contains(*form)),
            "printed a value unquoted"
        );
    }
}
