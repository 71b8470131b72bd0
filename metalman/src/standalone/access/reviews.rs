//! The review resources: clients ask who they are and what they, or others, may do. They are decided
//! by the same function as requests. Pure.
//!
//! Invariant: an answer never repeats a token.

use serde_json::{Value, json};

use super::attributes::{Attributes, Verb};
use super::roles::{Decision, Only, PATHS, RULES, allows};
use super::user::{Role, User};
use crate::standalone::fields::Fields as _;

/// Paths of the review resources and their kinds.
pub const REVIEWS: [(&str, &str); 5] = [
    (
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        "SelfSubjectReview",
    ),
    ("/apis/authentication.k8s.io/v1/tokenreviews", "TokenReview"),
    (
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
    ),
    (
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
    ),
    (
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        "SubjectAccessReview",
    ),
];

/// A review on its way to its answer.
pub struct Asked<'a> {
    /// Who asks.
    pub user: &'a User,
    /// Who shows a token.
    pub by_token: &'a dyn Fn(&str) -> Option<User>,
    /// The stored object a question is about.
    pub object: &'a dyn Fn(&Attributes) -> Option<Value>,
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Answers the review `body` at `path`; `None` when `path` is none. Whether the user may ask is
/// decided before.
pub fn answer(path: &str, asked: &Asked<'_>, mut body: Value) -> Option<Value> {
    let (_, kind) = REVIEWS.iter().find(|(review, _)| *review == path)?;
    let spec = body.at("spec");
    let status = match *kind {
        "SelfSubjectAccessReview" => verdict(asked, asked.user, spec),
        "SubjectAccessReview" => {
            let groups = spec.at("groups").as_array().into_iter().flatten();
            let groups = groups.filter_map(|g| g.as_str().map(str::to_owned));
            let name = spec.at("user").as_str().unwrap_or_default();
            verdict(asked, &User::new(name, groups.collect()), spec)
        }
        "SelfSubjectRulesReview" => rules(asked.user),
        "SelfSubjectReview" => json!({ "userInfo": info(asked.user) }),
        _ => match (asked.by_token)(spec.at("token").as_str().unwrap_or_default()) {
            Some(found) => json!({"authenticated": true, "user": info(&found)}),
            None => json!({"authenticated": false, "user": {}, "error": "invalid bearer token"}),
        },
    };
    if !body.is_object() {
        body = json!({});
    }
    let (api, _) = path.trim_start_matches("/apis/").rsplit_once('/')?;
    body.set("kind", json!(kind));
    body.set("apiVersion", json!(api));
    body.set("status", status);
    if let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("token");
    }
    Some(body)
}

fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info.set("uid", json!(user.uid));
    }
    info
}

fn verdict(asked: &Asked<'_>, user: &User, spec: &Value) -> Value {
    let attributes = attributes(spec);
    let object = (asked.object)(&attributes);
    match allows(user, &attributes, object.as_ref()) {
        Decision::Allow => json!({"allowed": true, "reason": format!("role {}", user.role.word())}),
        Decision::Deny => json!({ "allowed": false }),
    }
}

/// What `resourceAttributes` or `nonResourceAttributes` ask.
fn attributes(spec: &Value) -> Attributes {
    let resource = spec.at("resourceAttributes");
    let text = |from: &Value, key: &str| from.at(key).as_str().unwrap_or_default().to_owned();
    if !resource.is_object() {
        let path = spec.at("nonResourceAttributes");
        return Attributes {
            verb: Verb::parse(&text(path, "verb")),
            path: text(path, "path"),
            ..Attributes::default()
        };
    }
    Attributes {
        verb: Verb::parse(&text(resource, "verb")),
        group: text(resource, "group"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        namespace: text(resource, "namespace"),
        name: text(resource, "name"),
        ..Attributes::default()
    }
}

fn rules(user: &User) -> Value {
    let mut list = vec![
        json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"],
               "resources": ["selfsubjectreviews"]}),
        json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
               "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]}),
    ];
    for rule in RULES.iter().filter(|rule| rule.role == user.role.word()) {
        let verbs: Vec<&str> = rule.verbs.iter().map(|verb| verb.word()).collect();
        let verbs = if verbs.is_empty() { vec!["*"] } else { verbs };
        let mut shown = json!({"verbs": verbs, "apiGroups": [rule.group],
                               "resources": rule.resources});
        if let (Only::Own | Only::OwnLease, Role::Agent { machine }) = (rule.only, &user.role) {
            shown.set("resourceNames", json!([machine]));
        }
        list.push(shown);
    }
    let below: Vec<String> = PATHS.iter().map(|path| format!("{path}/*")).collect();
    let paths = if user.role == Role::Admin {
        json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}])
    } else {
        json!([{"verbs": ["get"], "nonResourceURLs": PATHS},
               {"verbs": ["get"], "nonResourceURLs": below}])
    };
    // Which operations concern an agent depends on the operations.
    let incomplete = matches!(user.role, Role::Agent { .. });
    json!({"incomplete": incomplete, "resourceRules": list, "nonResourceRules": paths})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(user: &User, plural: &str, spec: &Value) -> Value {
        let path = REVIEWS
            .iter()
            .find(|(p, _)| p.ends_with(&format!("/{plural}")));
        let by_token = |token: &str| (token == "right").then(User::admin);
        let asked = Asked {
            user,
            by_token: &by_token,
            object: &|_| None,
        };
        answer(path.unwrap().0, &asked, json!({ "spec": spec })).unwrap()
    }

    #[test]
    fn token_reviews_do_not_echo_the_token() {
        let admin = User::admin();
        let review = |token: &str| ask(&admin, "tokenreviews", &json!({ "token": token }));
        assert_eq!(review("right")["status"]["user"]["username"], "admin");
        assert_eq!(review("wrong")["status"]["authenticated"], false);
        assert!(!review("right").to_string().contains("right"));
        assert_eq!(review("right")["apiVersion"], "authentication.k8s.io/v1");
    }

    #[test]
    fn access_reviews_decide_like_requests() {
        let viewer = User::new("vera", vec!["unbounded:viewers".into()]);
        let may = |verb: &str, resource: &str, group: &str| {
            let attributes = json!({"verb": verb, "resource": resource, "group": group});
            let own = ask(
                &viewer,
                "selfsubjectaccessreviews",
                &json!({ "resourceAttributes": attributes }),
            );
            let others = ask(
                &User::admin(),
                "subjectaccessreviews",
                &json!({"user": "vera", "groups": ["unbounded:viewers"],
                       "resourceAttributes": attributes}),
            );
            assert_eq!(own["status"], others["status"]);
            own["status"]["allowed"] == true
        };
        assert!(may("list", "machines", "unbounded-cloud.io"));
        assert!(!may("delete", "machines", "unbounded-cloud.io"));
        assert!(!may("get", "secrets", ""));
        assert!(!may("*", "*", "*"));
        let path = json!({"nonResourceAttributes": {"verb": "get", "path": "/api"}});
        let answer = ask(&viewer, "selfsubjectaccessreviews", &path);
        assert_eq!(answer["status"]["allowed"], true);
    }

    #[test]
    fn rules_reviews_show_the_table() {
        let agent = User::new("unbounded:agent:node-1", vec!["unbounded:agents".into()]);
        let answer = ask(
            &agent,
            "selfsubjectrulesreviews",
            &json!({"namespace": "default"}),
        );
        let rules = answer["status"]["resourceRules"].as_array().unwrap();
        let machines = rules.iter().find(|r| r["resources"] == json!(["machines"]));
        assert_eq!(machines.unwrap()["resourceNames"], json!(["node-1"]));
        let admin = ask(&User::admin(), "selfsubjectrulesreviews", &json!({}));
        assert!(admin.to_string().contains("[\"*\"]"));
    }
}
