//! Kubeconfigs for the embedded API: one cluster, one user, one token. Pure.

use base64::Engine as _;
use kube::config::{
    AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::fields::Fields as _;

const NAME: &str = "metalman";

/// A kubeconfig for `user` at `server_url`, which trusts the CA in `ca_pem`.
pub fn kubeconfig(server_url: &str, ca_pem: &str, user: &str, token: SecretString) -> Kubeconfig {
    let ca = base64::engine::general_purpose::STANDARD.encode(ca_pem);
    Kubeconfig {
        kind: Some("Config".to_owned()),
        api_version: Some("v1".to_owned()),
        clusters: vec![NamedCluster {
            name: NAME.to_owned(),
            cluster: Some(Cluster {
                server: Some(server_url.to_owned()),
                certificate_authority_data: Some(ca),
                ..Cluster::default()
            }),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: user.to_owned(),
            auth_info: Some(AuthInfo {
                token: Some(token),
                ..AuthInfo::default()
            }),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: NAME.to_owned(),
            context: Some(Context {
                cluster: NAME.to_owned(),
                user: Some(user.to_owned()),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(NAME.to_owned()),
        ..Kubeconfig::default()
    }
}

/// A kubeconfig with its tokens, which do not serialise by themselves.
pub fn kubeconfig_value(kubeconfig: &Kubeconfig) -> Value {
    let mut value = json!(kubeconfig);
    let users = kubeconfig.auth_infos.iter().map(|user| {
        let info = user.auth_info.as_ref();
        let token = info.and_then(|info| info.token.as_ref());
        json!({"name": user.name, "user": {"token": token.map(SecretString::expose_secret)}})
    });
    value.set("users", users.collect());
    value
}

/// Its text. JSON is YAML, and kubectl reads it.
pub fn kubeconfig_text(kubeconfig: &Kubeconfig) -> String {
    format!("{:#}\n", kubeconfig_value(kubeconfig))
}
