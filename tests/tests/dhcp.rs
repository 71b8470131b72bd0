//! DHCP of the whole appliance: conflicts, other servers, and life without an API server.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use metalman_tests::{
    appliance::Appliance,
    dhcp::{PORT, Relay},
    rack::Rack,
    wait,
};
use serde_json::json;

const NODE_1: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 0x11];
const NODE_2: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 0x12];
const NODE_3: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 0x13];
const OFFER: u8 = 2;

fn lease(mac: [u8; 6], last: u8) -> serde_json::Value {
    let mac: Vec<_> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "dhcpLeases": [{
        "mac": mac.join(":"), "ipv4": format!("127.0.0.{last}"), "subnetMask": "255.0.0.0",
    }] })
}

async fn unique(rack: &Rack, machine: &str, status: &str) -> Result<Condition> {
    let what = format!("AddressesUnique of {machine} to be {status}");
    let condition = wait::until(&what, async || {
        let conditions = rack.machine(machine).await.ok()?.status?.conditions;
        conditions
            .into_iter()
            .find(|c| c.type_ == "AddressesUnique" && c.status == status)
    });
    condition.await.with_context(|| rack.appliance.log())
}

/// Waits until the appliance offers this address to this card.
async fn is_offered(relay: &Relay, mac: [u8; 6], last: u8) -> Result<()> {
    wait::until("the reservation to be offered", async || {
        let answer = relay.discover(mac).await.ok()??;
        let right = answer.kind == OFFER && answer.address == Ipv4Addr::new(127, 0, 0, last);
        (right && answer.mac == mac).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_disputed_mac_is_told_on_both_machines_and_served_to_neither() -> Result<()> {
    let rack = Rack::start().await?;
    let relay = Relay::new(rack.appliance.dhcp()).await?;
    rack.apply_machine("node-3", lease(NODE_3, 13)).await?;
    is_offered(&relay, NODE_1, 11).await?;
    is_offered(&relay, NODE_3, 13).await?;

    rack.apply_machine("twin", lease(NODE_1, 12)).await?;
    let first = unique(&rack, "node-1", "False").await?;
    let second = unique(&rack, "twin", "False").await?;
    for (condition, other) in [(&first, "twin"), (&second, "node-1")] {
        ensure!(condition.reason == "AddressConflict", "{condition:?}");
        let claim = format!(
            "spec.pxe.dhcpLeases[].mac 52:54:00:77:00:11 is also claimed by Machine {other}: \
             nobody is served it until one of them is corrected or deleted"
        );
        ensure!(condition.message == claim, "{}", condition.message);
    }
    relay.send(NODE_1, 1, &[]).await?;
    let next = relay.discover(NODE_3).await?.context("an answer")?;
    ensure!(
        next.mac == NODE_3,
        "the disputed MAC was answered: {next:?}"
    );

    rack.apply_machine("twin", lease(NODE_2, 12)).await?;
    for machine in ["node-1", "twin"] {
        unique(&rack, machine, "True").await?;
    }
    is_offered(&relay, NODE_1, 11).await?;
    is_offered(&relay, NODE_2, 12).await?;

    // An address is disputed like a MAC, and each card asks in vain.
    rack.apply_machine("twin", lease(NODE_2, 11)).await?;
    let first = unique(&rack, "node-1", "False").await?;
    ensure!(
        first
            .message
            .contains("ipv4 127.0.0.11 is also claimed by Machine twin")
    );
    for mac in [NODE_1, NODE_2] {
        relay.send(mac, 1, &[]).await?;
    }
    let next = relay.discover(NODE_3).await?.context("an answer")?;
    ensure!(
        next.mac == NODE_3,
        "a disputed address was offered: {next:?}"
    );
    Ok(())
}

#[tokio::test]
async fn another_server_becomes_one_event_and_one_line() -> Result<()> {
    let rack = Rack::start().await?;
    let relay = Relay::new(rack.appliance.dhcp()).await?;
    is_offered(&relay, NODE_1, 11).await?;
    for _ in 0..20 {
        let request: &[(u8, &[u8])] = &[(50, &[127, 0, 0, 50]), (54, &[127, 0, 0, 66])];
        relay.send(NODE_1, 3, request).await?;
    }
    is_offered(&relay, NODE_1, 11).await?;
    let api: kube::Api<k8s_openapi::api::events::v1::Event> = kube::Api::all(rack.client.0.clone());
    let about_servers = async || -> Result<Vec<_>> {
        let mut all = api.list(&kube::api::ListParams::default()).await?.items;
        all.retain(|event| event.reason.as_deref() == Some("ForeignDhcpServer"));
        Ok(all)
    };
    let events = wait::until("the Event", async || {
        about_servers()
            .await
            .ok()
            .filter(|events| !events.is_empty())
    });
    let events = events.await.with_context(|| rack.appliance.log())?;
    ensure!(events.len() == 1, "{events:?}");
    let event = events.first().context("one")?;
    let regarding = event.regarding.clone().unwrap_or_default();
    ensure!(regarding.name.as_deref() == Some("node-1"), "{regarding:?}");
    let note = event.note.clone().unwrap_or_default();
    ensure!(
        note.starts_with("another DHCP server, 127.0.0.66, is on the machines' network"),
        "{note}"
    );
    let timeline = wait::until("the mark in the timeline", async || {
        let text = rack.appliance.run(&["timeline", "node-1"]).ok()?;
        text.contains("chose another DHCP server, 127.0.0.66")
            .then_some(text)
    });
    let timeline = timeline.await?;
    let marks = timeline.matches("another DHCP server").count();
    ensure!(marks == 1, "{timeline}");
    Ok(())
}

#[tokio::test]
async fn an_unknown_card_is_listed_and_enrolled_from_the_list() -> Result<()> {
    let rack = Rack::start().await?;
    let relay = Relay::new(rack.appliance.dhcp()).await?;
    let firmware: &[(u8, &[u8])] = &[(93, &[0, 7]), (60, b"PXEClient:Arch:00007")];
    relay.send(NODE_2, 1, firmware).await?;
    let list = wait::until("the card to be listed", async || {
        let list = rack.appliance.run(&["discovered"]).ok()?;
        list.contains("52:54:00:77:00:12").then_some(list)
    });
    let list = list.await?;
    for part in ["x86-64 UEFI PXE", "127.0.0.2", PORT, "PXEClient:Arch:00007"] {
        ensure!(list.contains(part), "{part} in {list}");
    }
    let page = rack.appliance.page("/discovered").await?.text().await?;
    let page = page.replace("&#x2f;", "/");
    for part in [
        "52:54:00:77:00:12",
        "x86-64 UEFI PXE",
        "127.0.0.2",
        PORT,
        "kind: Machine",
    ] {
        ensure!(page.contains(part), "{part} in {page}");
    }
    let listed = rack.appliance.page("/api/v1/discovered").await?;
    let listed: serde_json::Value = listed.error_for_status()?.json().await?;
    let yaml = listed
        .pointer("/items/0/yaml")
        .and_then(|yaml| yaml.as_str());
    ensure!(
        yaml.is_some_and(|yaml| yaml.contains("unbounded-cloud.io/site: \"lab\"")),
        "{listed}"
    );
    let card = ["discovered", "--yaml", "52:54:00:77:00:12"];
    let options = ["--name", "node-2", "--ipv4", "127.0.0.12"];
    let text = rack.appliance.run(&[&card[..], &options].concat())?;
    let text = text.replace("spec:", "  labels: { unbounded-cloud.io/site: lab }\nspec:");
    rack.apply(&text).await?;
    is_offered(&relay, NODE_2, 12).await?;
    // The store, which is listed, is up to 200 ms behind.
    wait::until("the card to leave the list", async || {
        let list = rack.appliance.run(&["discovered"]).ok()?;
        (!list.contains("52:54:00:77:00:12")).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_killed_appliance_serves_from_its_store_while_the_api_is_away() -> Result<()> {
    let mut rack = Rack::start().await?;
    let dir = tempfile::TempDir::new()?;
    let mut second = Appliance::start_at(dir.path(), rack.appliance.kubeconfig()).await?;
    let relay = Relay::new(second.dhcp()).await?;
    is_offered(&relay, NODE_1, 11).await?;

    rack.appliance.kill()?;
    second.kill()?;
    second.spawn()?;
    let started = std::time::Instant::now();
    let answer = wait::until("the first answer", async || {
        relay.send(NODE_1, 1, &[]).await.ok()?;
        let answer = tokio::time::timeout(Duration::from_millis(50), relay.answer());
        answer.await.ok()?.ok()?
    });
    let answer = answer.await.with_context(|| second.log())?;
    ensure!(answer.address == Ipv4Addr::new(127, 0, 0, 11), "{answer:?}");
    ensure!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    ensure!(!rack.appliance.is_ready().await, "the API is still there");
    Ok(())
}
