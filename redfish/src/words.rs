//! Enumerations whose values are words of the Redfish schema.
//!
//! Not a general string enum: the written form is exactly the word of the standard, on the wire,
//! in `Display` and in serde alike.

/// Declares an enum of Redfish words with `as_str`, `parse`, `Display` and serde.
macro_rules! redfish_words {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $( $(#[$variant_meta])* #[serde(rename = $word)] $variant, )+
        }

        impl $name {
            /// Every value, in the order of the standard.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The word as the Redfish schema spells it.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }

            /// Reads a word; letter case is ignored because BMCs differ in it. `None` if unknown.
            pub fn parse(word: &str) -> Option<Self> {
                $( if word.eq_ignore_ascii_case($word) { return Some(Self::$variant); } )+
                None
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use redfish_words;
