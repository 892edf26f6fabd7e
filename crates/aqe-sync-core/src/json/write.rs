//! Writing objects member by member, with members that are already JSON text.

/// `text` as a JSON string literal.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Builds an object of raw members, in the order they come.
#[derive(Debug, Default)]
pub struct ObjectWriter {
    text: String,
}

impl ObjectWriter {
    /// An object without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no member was written.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Adds a member whose value is valid JSON text.
    pub fn member(&mut self, key: &str, json: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push_str(&quote(key));
        self.text.push(':');
        self.text.push_str(json);
    }

    /// The object.
    pub fn finish(mut self) -> String {
        if self.text.is_empty() {
            self.text.push('{');
        }
        self.text.push('}');
        self.text
    }
}
