//! Who may look at the web page, and who may act, when a cluster says so: the token is reviewed by the
//! cluster, and its user must be allowed to list Machines, or to create MachineOperations. Invariant: a token is sent to the API server only.

use async_trait::async_trait;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use tracing::warn;

use crate::web::{Right, TokenCheck, TokenVerdict};

/// Asks the cluster about tokens.
#[derive(Clone)]
pub(super) struct ClusterTokens {
    client: Client,
}

impl ClusterTokens {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn user(&self, token: &str) -> kube::Result<Option<UserInfo>> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status;
        Ok(status
            .filter(|status| status.authenticated == Some(true))
            .and_then(|s| s.user))
    }

    async fn may(&self, user: &UserInfo, right: Right) -> kube::Result<bool> {
        let ours = "unbounded-cloud.io";
        let (group, verb, resource) = match right {
            Right::Read => (ours, "list", "machines"),
            Right::Operate => (ours, "create", "machineoperations"),
            Right::ChangeSecrets => ("", "patch", "secrets"),
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                groups: user.groups.clone(),
                uid: user.uid.clone(),
                extra: user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(group.to_owned()),
                    resource: Some(resource.to_owned()),
                    verb: Some(verb.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status;
        Ok(status.is_some_and(|status| status.allowed))
    }

    async fn verdict(&self, token: &str, right: Right) -> kube::Result<TokenVerdict> {
        let Some(user) = self.user(token).await? else {
            return Ok(TokenVerdict::Refused);
        };
        if !self.may(&user, right).await? {
            return Ok(TokenVerdict::Refused);
        }
        Ok(TokenVerdict::Accepted {
            user: user.username.unwrap_or_default(),
        })
    }
}

#[async_trait]
impl TokenCheck for ClusterTokens {
    async fn check(&self, token: &str, right: Right) -> TokenVerdict {
        self.verdict(token, right).await.unwrap_or_else(|error| {
            warn!(%error, "the cluster could not review a token");
            TokenVerdict::Unavailable
        })
    }
}
