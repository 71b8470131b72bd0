use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::directory::{Architecture, BootMachine, BootProtocol, InstallGrant, Reservation};
use crate::images::ImageMetadata;
use crate::render::{CheckedTemplate, SeedInputs, ServerContext, check_templates};

const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

fn image(root: &Path) -> UnpackedImage {
    UnpackedImage {
        digest: crate::images::digest::digest_of(root.to_string_lossy().as_bytes()),
        root: root.to_owned(),
        metadata: ImageMetadata::default(),
        disk: None,
    }
}

fn machine(claimed: Option<bool>) -> BootMachine {
    BootMachine {
        name: "node-1".to_owned(),
        leases: vec![Reservation {
            mac: "52:54:00:77:00:11".parse().unwrap(),
            ipv4: PEER,
            subnet_mask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: Some(Ipv4Addr::new(10, 77, 0, 1)),
            dns: vec![Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(9, 9, 9, 9)],
            mtu: None,
        }],
        architecture: Architecture::Amd64,
        protocol: BootProtocol::Pxe,
        netboot: None,
        install: claimed.map(|claimed| InstallGrant {
            token: "t0k-en_".to_owned(),
            claimed,
            image: Arc::new(image(Path::new("/none"))),
        }),
        context: Arc::new(json!({"site": "lab"})),
    }
}

fn server() -> ServerContext {
    ServerContext {
        http_url: "http://10.77.0.1:8880".to_owned(),
        address: Ipv4Addr::new(10, 77, 0, 1),
        port: 8880,
    }
}

fn set_with(name: &str, source: &str) -> TemplateSet {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, source).unwrap();
    TemplateSet::load(dir.path()).unwrap()
}

fn boot(set: &TemplateSet, claimed: Option<bool>) -> String {
    let context = BootContext::new(&machine(claimed), PEER, &server()).unwrap();
    String::from_utf8(
        render_boot(set, "grub/grub.cfg", &context)
            .unwrap()
            .bytes
            .to_vec(),
    )
    .unwrap()
}

#[test]
fn every_template_renders_with_every_sample() {
    let checked = check_templates(None).unwrap();
    assert_eq!(checked.len(), 4 + 4 * 2);
    for CheckedTemplate {
        template,
        sample,
        outcome,
    } in checked
    {
        let name = format!("{template}@{sample}").replace('/', "_");
        insta::assert_snapshot!(name, outcome.unwrap());
    }
}

#[test]
fn only_an_unclaimed_grant_starts_the_installer() {
    let set = TemplateSet::built_in();
    let install = boot(&set, Some(false));
    assert!(install.contains("unbounded.token=t0k-en_ "), "{install}");
    assert!(!install.contains("chainloader"), "{install}");
    for text in [boot(&set, None), boot(&set, Some(true))] {
        assert!(text.contains("chainloader"), "{text}");
        assert!(
            !text.contains("vmlinuz") && !text.contains("t0k-en_"),
            "{text}"
        );
    }
}

#[test]
fn the_kernel_gets_the_agreed_command_line() {
    let text = boot(&TemplateSet::built_in(), Some(false));
    let line = text
        .lines()
        .find(|line| line.contains("linux (http,"))
        .unwrap();
    assert_eq!(
        line.trim(),
        "if linux (http,10.77.0.1:8880)/vmlinuz unbounded.server=http://10.77.0.1:8880 \
         unbounded.token=t0k-en_ unbounded.mac=52:54:00:77:00:11 \
         ip=10.77.0.11::10.77.0.1:255.255.255.0:::none unbounded.dns=10.77.0.1,9.9.9.9 \
         console=tty0 console=ttyS0,115200n8 panic=30; then"
    );
}

#[test]
fn every_expression_of_the_shipped_templates_is_quoted() {
    for (name, source) in BUILT_IN {
        for expression in source.split("{{").skip(1) {
            let expression = expression.split("}}").next().unwrap().trim();
            let filter = expression.rsplit('|').next().unwrap().trim();
            let quoted = ["grub", "yaml", "comment", "verbatim"].contains(&filter);
            assert!(
                quoted || expression == "kernel_arguments()",
                "{name}: {expression}"
            );
        }
    }
}

#[test]
fn a_hostile_name_stays_one_word_on_one_line() {
    let mut hostile = machine(None);
    hostile.name = "x'; reboot; echo '$root {".to_owned();
    let context = BootContext::new(&hostile, PEER, &server()).unwrap();
    let rendered = render_boot(&TemplateSet::built_in(), "grub/grub.cfg", &context).unwrap();
    let text = String::from_utf8(rendered.bytes.to_vec()).unwrap();
    let echo = text.lines().find(|line| line.starts_with("echo ")).unwrap();
    assert_eq!(
        echo,
        r"echo 'metalman: x'\''; reboot; echo '\''$root {: nothing to install, starting the local disk'"
    );
    hostile.name = "x\nreboot".to_owned();
    let context = BootContext::new(&hostile, PEER, &server()).unwrap();
    let error = render_boot(&TemplateSet::built_in(), "grub/grub.cfg", &context).unwrap_err();
    assert_eq!(error.variable(), Some("machine.name"));
}

#[test]
fn errors_name_template_line_and_variable_but_no_value() {
    let set = set_with(
        "grub/grub.cfg.j2",
        "one\ntwo\n{{ machine.serial | grub }}\n",
    );
    let context = BootContext::new(&machine(Some(false)), PEER, &server()).unwrap();
    let error = render_boot(&set, "grub/grub.cfg", &context).unwrap_err();
    assert_eq!(error.line(), Some(3));
    assert_eq!(error.template(), "grub/grub.cfg.j2");
    assert_eq!(error.variable(), Some("machine.serial"));
    assert!(!error.to_string().contains("t0k-en_"));
}

#[test]
fn text_that_nobody_quoted_is_not_printed() {
    let context = BootContext::new(&machine(Some(false)), PEER, &server()).unwrap();
    for source in [
        "{{ machine.name }}",
        "{{ machine.ipv4 }}",
        "{{ machine.dns }}",
        "{{ machine.dns | join(\" \") }}",
        "{{ machine.name | kernel_arg }}",
        "{{ machine.name | upper }}",
        "{{ machine.name ~ (server.http_url | grub) }}",
        "{{ (machine.name | grub) ~ \";\" }}",
        "{{ \"%s\" | format(machine.name | grub) }}",
        "{{ machine.name | grub | first }}",
        "{{ machine.name | grub | reverse }}",
        "{{ machine.name | grub | yaml }}",
        "{{ (machine.name | grub)[1:] }}",
        "{{ machine.name | safe }}",
        "{{ machine.name | e }}",
        "{% autoescape false %}{{ machine.name }}{% endautoescape %}",
        "{% autoescape true %}{{ machine.name }}{% endautoescape %}",
        "{% set x %}{{ machine.name }}{% endset %}{{ x }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(machine.name) }}",
    ] {
        let set = set_with("x.cfg.j2", source);
        let error = render_boot(&set, "x.cfg", &context).expect_err(source);
        assert_eq!(error.line(), Some(1), "{source}: {error}");
    }
    let set = set_with("x.cfg.j2", "fine\n{{ machine.name }}\n");
    let error = render_boot(&set, "x.cfg", &context).unwrap_err();
    assert_eq!(
        (error.line(), error.variable()),
        (Some(2), Some("machine.name"))
    );
    assert!(error.to_string().contains("| grub"), "{error}");
}

#[test]
fn quoted_text_numbers_and_blocks_of_them_are_printed() {
    let context = BootContext::new(&machine(Some(false)), PEER, &server()).unwrap();
    for (source, want) in [
        ("{{ machine.name | grub }}", "node-1"),
        (
            "{{ server.port }} {{ 1 == 1 }} {{ loop_ is defined }}",
            "8880 True False",
        ),
        (
            "{% for d in machine.dns %}{{ loop.index }}={{ d | grub }} {% endfor %}",
            "1=10.77.0.1 2=9.9.9.9 ",
        ),
        (
            "{% set x %}{{ machine.name | grub }}{% endset %}[{{ x }}]",
            "[node-1]",
        ),
        (
            "{% macro m(x) %}<{{ x | grub }}>{% endmacro %}{{ m(machine.name) }}",
            "<node-1>",
        ),
        (
            "{{ machine.mac | replace(\":\", \"-\") | grub }}",
            "52-54-00-77-00-11",
        ),
        (
            "{{ machine.dns | join(\",\") | kernel_arg | grub }}",
            "10.77.0.1,9.9.9.9",
        ),
    ] {
        let set = set_with("x.cfg.j2", source);
        let rendered = render_boot(&set, "x.cfg", &context).expect(source);
        assert_eq!(std::str::from_utf8(&rendered.bytes), Ok(want), "{source}");
    }
}

#[test]
fn a_broken_template_fails_alone_with_its_line() {
    let set = set_with("other.cfg.j2", "fine\n{% if %}\n");
    let context = BootContext::new(&machine(None), PEER, &server()).unwrap();
    let error = render_boot(&set, "other.cfg", &context).unwrap_err();
    assert_eq!((error.line(), error.reason()), (Some(2), "TemplateFailed"));
    assert!(set.has("other.cfg.j2") && set.is_own("other.cfg.j2"));
    assert!(render_boot(&set, "grub/grub.cfg", &context).is_ok());
    assert_eq!(
        render_boot(&set, "absent", &context).unwrap_err().reason(),
        "TemplateMissing"
    );
}

#[test]
fn endless_and_boundless_templates_are_stopped() {
    let context = BootContext::new(&machine(None), PEER, &server()).unwrap();
    for source in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}",
        "{% set x = 'x' * 3000 %}{% for a in range(9999) %}{{ x }}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ] {
        let set = set_with("loop.cfg.j2", source);
        let error = render_boot(&set, "loop.cfg", &context).unwrap_err();
        assert_eq!(error.reason(), "TemplateFailed", "{source}: {error}");
    }
}

#[test]
fn filters_refuse_missing_values_and_containers() {
    let context = BootContext::new(&machine(None), PEER, &server()).unwrap();
    for expression in [
        "nothing",
        "machine.nothing",
        "install",
        "machine.dns",
        "machine",
    ] {
        for filter in ["grub", "shell", "kernel_arg", "comment", "verbatim"] {
            let set = set_with("x.j2", &format!("{{{{ {expression} | {filter} }}}}"));
            let error = render_boot(&set, "x", &context).unwrap_err();
            assert_eq!(error.line(), Some(1), "{expression} | {filter}");
        }
    }
}

#[test]
fn an_image_template_covers_the_built_in_one_and_is_compiled_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("grub")).unwrap();
    let path = dir.path().join("grub/grub.cfg.j2");
    fs::write(&path, "first {{ extra.site | grub }}\n").unwrap();
    let image = image(dir.path());
    let renderer = Renderer::new();
    assert_eq!(
        boot(&renderer.templates(&image).unwrap(), None),
        "first lab\n"
    );
    // The content of an image never changes; the compiled set proves that it was not read again.
    fs::write(&path, "second").unwrap();
    assert_eq!(
        boot(&renderer.templates(&image).unwrap(), None),
        "first lab\n"
    );
}

#[test]
fn a_seed_is_valid_yaml_and_unique_for_its_installation() {
    let mut two_nics = machine(None);
    two_nics.leases.push(Reservation {
        mac: "52:54:00:77:01:11".parse().unwrap(),
        ipv4: Ipv4Addr::new(10, 78, 0, 11),
        subnet_mask: Ipv4Addr::new(255, 255, 0, 0),
        gateway: Some(Ipv4Addr::new(10, 78, 0, 1)),
        dns: vec![],
        mtu: None,
    });
    let inputs = SeedInputs {
        instance_id: "node-1-op7".to_owned(),
        boot_report_url: "http://10.77.0.1:8880/boot/c/report".to_owned(),
        cloud_init_url: "http://10.77.0.1:8880/boot/c/cloud-init".to_owned(),
        user_data: Some("#!/bin/sh\necho '{{ x }}'".to_owned()),
    };
    let context = crate::render::SeedContext::new(&two_nics, inputs).unwrap();
    let seed = render_seed(&TemplateSet::built_in(), &context).unwrap();
    assert_eq!(seed.user_data, "#!/bin/sh\necho '{{ x }}'");
    let meta: serde_json::Value = yaml::from_str(&seed.meta_data).unwrap();
    assert_eq!(
        meta,
        json!({"instance-id": "node-1-op7", "local-hostname": "node-1"})
    );
    let vendor: serde_json::Value = yaml::from_str(&seed.vendor_data).unwrap();
    assert_eq!(
        vendor.pointer("/reporting/metalman/endpoint").unwrap(),
        "http://10.77.0.1:8880/boot/c/cloud-init"
    );
    assert_eq!(vendor.pointer("/users/0/lock_passwd").unwrap(), true);
    let network: serde_json::Value = yaml::from_str(&seed.network_config).unwrap();
    assert_eq!(
        network.pointer("/ethernets/lan0/routes/0/via").unwrap(),
        "10.77.0.1"
    );
    assert_eq!(
        network.pointer("/ethernets/lan1/addresses/0").unwrap(),
        "10.78.0.11/16"
    );
    assert_eq!(
        network.pointer("/ethernets/lan1/routes"),
        None,
        "one default route only"
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test switch of the whole project"
)]
fn grub_itself_accepts_the_script() {
    let program = "/usr/bin/grub-script-check";
    if !Path::new(program).exists() {
        assert!(
            std::env::var("METALMAN_TEST_STRICT").as_deref() != Ok("1"),
            "{program} is not installed (package grub-common)"
        );
        eprintln!("SKIPPED: {program} is not installed (package grub-common)");
        return;
    }
    let mut hostile = machine(None);
    hostile.name = "x'; } fi \" $root {".to_owned();
    let context = BootContext::new(&hostile, PEER, &server()).unwrap();
    let hostile = TemplateSet::built_in()
        .render("grub/grub.cfg.j2", &context)
        .unwrap();
    let scripts = check_templates(None)
        .unwrap()
        .into_iter()
        .filter(|checked| checked.template.ends_with("grub.cfg.j2"))
        .map(|checked| checked.outcome.unwrap())
        .chain([hostile]);
    for script in scripts {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(script.as_bytes()).unwrap();
        let checked = std::process::Command::new(program)
            .arg(file.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{said}\n{script}");
    }
}
