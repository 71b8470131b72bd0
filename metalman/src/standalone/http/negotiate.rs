//! In which shape a client wants its answer, and putting objects and lists into that shape. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::standalone::event_view;
use crate::standalone::fields::Fields as _;
use crate::standalone::hub::Stored;
use crate::standalone::resource::{Family, Resource};
use crate::standalone::status::ApiError;
use crate::standalone::table::{Include, metadata_only, table};

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Whole objects.
    Objects,
    /// A `Table`.
    Table(Include),
    /// Only metadata.
    Metadata,
}

impl Shape {
    /// From the `Accept` header and `includeObject`.
    ///
    /// # Errors
    /// 406 when only shapes are accepted that are not offered, such as protobuf.
    pub(super) fn of(headers: &HeaderMap, include: Option<&str>) -> Result<Self, ApiError> {
        let include = match include {
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(_) | None => Include::Metadata,
        };
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("*/*");
        let offered = accept.split(',').find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if !matches!(media, "application/json" | "application/*" | "*/*") {
                return None;
            }
            match parts.find_map(|p| p.strip_prefix("as=")) {
                Some("Table") => Some(Self::Table(include)),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Self::Metadata),
                Some(_) => None,
                None => Some(Self::Objects),
            }
        });
        offered.ok_or_else(ApiError::not_acceptable)
    }

    /// One object.
    pub(super) fn one(
        self,
        resource: &Resource,
        object: &Value,
        definitions: bool,
        now: Timestamp,
    ) -> Value {
        let shown = shown(resource, object);
        match self {
            Self::Objects => shown.into_owned(),
            Self::Metadata => metadata_only(&shown),
            Self::Table(include) => {
                let meta = json!({"resourceVersion": shown.at("metadata").at("resourceVersion")});
                let objects = std::iter::once(shown.as_ref());
                table(&resource.columns, objects, &meta, include, definitions, now)
            }
        }
    }

    /// Whether stored texts of this resource are sent as they are.
    pub(super) fn is_stored(self, resource: &Resource) -> bool {
        self == Self::Objects && !matches!(resource.family, Family::EventView)
    }

    /// A list in another shape than [`Shape::is_stored`].
    pub(super) fn list(
        self,
        resource: &Resource,
        objects: &[Arc<Stored>],
        meta: &Value,
        now: Timestamp,
    ) -> Value {
        // One tree at a time, but for lists of whole Events.
        let shown = objects
            .iter()
            .map(|object| shown(resource, &object.value()).into_owned());
        match self {
            Self::Objects => json!({
                "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
                "metadata": meta, "items": shown.collect::<Vec<_>>(),
            }),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": meta,
                "items": shown.map(|o| metadata_only(&o)).collect::<Vec<_>>(),
            }),
            Self::Table(include) => table(&resource.columns, shown, meta, include, true, now),
        }
    }
}

/// A stored object as this resource shows it.
pub(super) fn shown<'v>(resource: &Resource, object: &'v Value) -> Cow<'v, Value> {
    match resource.family {
        Family::EventView => Cow::Owned(event_view::from_core(object)),
        Family::Core | Family::Custom => Cow::Borrowed(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(accept: &str) -> Result<Shape, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Shape::of(&headers, None).map_err(|e| e.code())
    }

    #[test]
    fn kubectl_and_kube_get_what_they_ask_for() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                       application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(shape(kubectl), Ok(Shape::Table(Include::Metadata)));
        assert_eq!(shape("application/json"), Ok(Shape::Objects));
        assert_eq!(shape("*/*"), Ok(Shape::Objects));
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(shape(metadata), Ok(Shape::Metadata));
        let protobuf = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(shape(protobuf), Ok(Shape::Objects));
        assert_eq!(shape("application/vnd.kubernetes.protobuf"), Err(406));
    }
}
