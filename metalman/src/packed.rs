//! JSON texts of many similar objects in little memory.
//!
//! A text is compressed against an earlier one, its model: ten thousand Machines differ in few
//! bytes. Not a store: a packed text lives as long as its holder. Invariant: a text was unpacked
//! and compared once before it was kept packed, so reading it back does not fail.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, compress_bound};

const LEVEL: i32 = 1;
/// A text that packs to more than one part in this many is not like the model.
const LIKENESS: usize = 4;
/// So many of those, and the last of them is the next model. A model costs some tens of kilobytes.
const MISSES: u32 = 256;

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Packs texts of one kind.
#[derive(Debug, Default)]
pub struct Packer(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    model: Option<Arc<Model>>,
    misses: u32,
}

/// A text that others are described by.
struct Model {
    encoder: CDict<'static>,
    decoder: DDict<'static>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

/// A text, packed.
#[derive(Debug)]
pub struct Packed {
    /// Without one, the bytes are the text.
    model: Option<Arc<Model>>,
    bytes: Box<[u8]>,
    /// Bytes of the text.
    length: usize,
}

impl Packer {
    /// Packs `text`.
    pub fn pack(&self, text: &str) -> Packed {
        let Some(model) = self.model(text) else {
            return Packed::plain(text);
        };
        let packed = model.pack(text);
        let is_like = packed
            .as_ref()
            .is_some_and(|bytes| bytes.len() * LIKENESS <= text.len());
        if !is_like {
            self.miss(text);
        }
        let packed = packed.filter(|bytes| bytes.len() < text.len());
        packed.map_or_else(
            || Packed::plain(text),
            |bytes| Packed {
                model: Some(model),
                bytes,
                length: text.len(),
            },
        )
    }

    /// The model now; the first text of all becomes one.
    fn model(&self, text: &str) -> Option<Arc<Model>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.model.is_none() {
            state.model = Model::new(text);
        }
        state.model.clone()
    }

    fn miss(&self, text: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.misses += 1;
        if state.misses >= MISSES {
            state.misses = 0;
            state.model = Model::new(text).or(state.model.take());
        }
    }
}

impl Model {
    fn new(text: &str) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            encoder: CDict::try_create(text.as_bytes(), LEVEL)?,
            decoder: DDict::try_create(text.as_bytes())?,
        }))
    }

    /// `None` when it cannot be read back as it was.
    fn pack(&self, text: &str) -> Option<Box<[u8]>> {
        let mut bytes = Vec::with_capacity(compress_bound(text.len()));
        COMPRESSOR
            .with_borrow_mut(|compressor| {
                compressor.compress_using_cdict(&mut bytes, text.as_bytes(), &self.encoder)
            })
            .ok()?;
        let is_same = self.unpack(&bytes, text.len())? == text.as_bytes();
        is_same.then(|| bytes.into_boxed_slice())
    }

    fn unpack(&self, bytes: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(length);
        DECOMPRESSOR
            .with_borrow_mut(|decompressor| {
                decompressor.decompress_using_ddict(&mut text, bytes, &self.decoder)
            })
            .ok()?;
        Some(text)
    }
}

impl Packed {
    fn plain(text: &str) -> Self {
        Self {
            model: None,
            bytes: text.as_bytes().into(),
            length: text.len(),
        }
    }

    /// The text.
    pub fn text(&self) -> String {
        let bytes = match &self.model {
            None => Some(self.bytes.to_vec()),
            Some(model) => model.unpack(&self.bytes, self.length),
        };
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.unwrap_or_else(|| {
            // It was read back when it was packed: this is broken memory.
            tracing::error!("an object in memory cannot be unpacked");
            String::new()
        })
    }

    /// The text as a JSON tree.
    pub fn value(&self) -> Value {
        self.read().unwrap_or_default()
    }

    /// The text as a typed object.
    ///
    /// # Errors
    /// When it is none.
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.text())
    }

    /// Bytes it takes, without its share of the model.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn machine(index: usize) -> String {
        json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": {
                "name": format!("node-{index:06}"), "uid": format!("{:032x}", index * 7919),
                "labels": { "unbounded-cloud.io/site": "lab" }, "resourceVersion": index.to_string(),
            },
            "spec": { "pxe": { "image": "registry.example/host:1", "dhcpLeases": [{
                "mac": format!("52:54:00:00:{:02x}:{:02x}", index / 256, index % 256),
                "ipv4": format!("10.0.{}.{}", index / 256, index % 256),
                "subnetMask": "255.255.0.0", "gateway": "10.0.0.1", "dns": ["10.0.0.1"],
            }] } },
        })
        .to_string()
    }

    #[test]
    fn similar_texts_take_a_quarter_and_come_back() {
        let packer = Packer::default();
        let texts: Vec<String> = (0..1000).map(machine).collect();
        let packed: Vec<Packed> = texts.iter().map(|text| packer.pack(text)).collect();
        for (packed, text) in packed.iter().zip(&texts) {
            assert_eq!(&packed.text(), text);
        }
        let whole: usize = texts.iter().map(String::len).sum();
        let small: usize = packed.iter().map(Packed::size).sum();
        assert!(small * 3 < whole, "{small} of {whole}");
    }

    #[test]
    fn a_model_that_fits_no_more_is_replaced_and_old_texts_stay_readable() {
        let packer = Packer::default();
        let first = packer.pack("{\"nothing\":\"alike\"}");
        let early = packer.pack(&machine(1));
        for index in 0..=MISSES as usize {
            packer.pack(&machine(index));
        }
        let late = packer.pack(&machine(1));
        assert!(late.size() < early.size(), "{late:?} {early:?}");
        assert_eq!(first.text(), "{\"nothing\":\"alike\"}");
        assert_eq!(early.text(), late.text());
    }

    proptest! {
        #[test]
        fn any_text_comes_back(texts in prop::collection::vec(".{0,300}", 1..8)) {
            let packer = Packer::default();
            let packed: Vec<Packed> = texts.iter().map(|text| packer.pack(text)).collect();
            for (packed, text) in packed.iter().zip(&texts) {
                prop_assert_eq!(&packed.text(), text);
            }
        }
    }
}
