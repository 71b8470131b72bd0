//! GRUB's view of a script: its words.
//!
//! After the lexer of GRUB 2 (manual, "Quoting"; grub-core/script/yylex.l), written apart from the
//! quoting functions so that it can judge them. Expansions are not done: `$name` stays text, and is
//! marked when it would be one.

/// A word, or a metacharacter that stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// What a command would get, before variables are expanded.
    Word {
        /// Without quotes.
        text: String,
        /// Whether a `$` in it would be expanded.
        expands: bool,
    },
    /// `;`, `|`, `&`, `{`, `}`, `<`, `>` or the end of a line.
    Meta(char),
}

/// Splits a script; `None` when a quote is left open.
pub(crate) fn grub_tokens(script: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut word = Word::default();
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                word.open = true;
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.text.push(c),
                    }
                }
            }
            '"' => {
                word.open = true;
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' if matches!(chars.peek(), Some('$' | '"' | '\\')) => {
                            word.text.extend(chars.next());
                        }
                        c => word.push(c),
                    }
                }
            }
            '\\' => match chars.next()? {
                '\n' => {}
                c => {
                    word.open = true;
                    word.text.push(c);
                }
            },
            '#' if !word.open => while chars.next_if(|c| *c != '\n').is_some() {},
            ' ' | '\t' => word.end(&mut tokens),
            '\n' | ';' | '|' | '&' | '{' | '}' | '<' | '>' => {
                word.end(&mut tokens);
                tokens.push(Token::Meta(c));
            }
            c => word.push(c),
        }
    }
    word.end(&mut tokens);
    Some(tokens)
}

#[derive(Default)]
struct Word {
    text: String,
    expands: bool,
    open: bool,
}

impl Word {
    fn push(&mut self, c: char) {
        self.open = true;
        self.expands |= c == '$';
        self.text.push(c);
    }

    fn end(&mut self, tokens: &mut Vec<Token>) {
        let word = std::mem::take(self);
        if word.open {
            tokens.push(Token::Word {
                text: word.text,
                expands: word.expands,
            });
        }
    }
}

/// The same as plain text.
#[cfg(test)]
pub(crate) fn grub_words(script: &str) -> Option<Vec<String>> {
    let tokens = grub_tokens(script)?;
    let text = |token| match token {
        Token::Word { text, .. } => text,
        Token::Meta(c) => c.to_string(),
    };
    Some(tokens.into_iter().map(text).collect())
}

/// Splits a command line the way Linux does (lib/cmdline.c, `next_arg`).
pub(crate) fn kernel_arguments(line: &str) -> Vec<String> {
    let (mut arguments, mut argument, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                arguments.push(std::mem::take(&mut argument));
            }
            c => argument.push(c),
        }
    }
    arguments.push(argument);
    arguments.retain(|argument| !argument.is_empty());
    arguments
}
