//! Reading what is answered in XML.
//!
//! Owns the few steps through a tree that every answer needs. Refuses a document type (so that no
//! entity can be defined), and never echoes an answer that it cannot read.

use std::collections::BTreeMap;

use roxmltree::{Document, Node};

use crate::domain::Failure;

/// The tree of an answer.
pub(super) fn parse(text: &str) -> Result<Document<'_>, Failure> {
    Document::parse(text).map_err(|_| unreadable())
}

/// An answer that is not what it should be.
pub(super) fn unreadable() -> Failure {
    Failure::failed("AWS gave an answer that cannot be read")
        .remedy("check that the endpoint is AWS's own: a proxy may answer in its place")
}

/// The first element of this name anywhere below.
pub(super) fn find<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.descendants().find(|it| it.is_element() && it.tag_name().name() == name)
}

/// The child of this name.
pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|it| it.is_element() && it.tag_name().name() == name)
}

/// The text at the end of a path of children; an empty one counts as none.
pub(super) fn text(node: Node<'_, '_>, path: &[&str]) -> Option<String> {
    let end = path.iter().try_fold(node, |node, name| child(node, name))?;
    let text = end.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The elements of the list that is called so, wherever it is.
pub(super) fn list<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Vec<Node<'a, 'i>> {
    find(node, name).map(items).unwrap_or_default()
}

/// The elements of every list that is called so, one after the other.
pub(super) fn lists<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Vec<Node<'a, 'i>> {
    let lists = node.descendants().filter(|it| it.is_element() && it.tag_name().name() == name);
    lists.flat_map(items).collect()
}

/// The elements of a list.
pub(super) fn items<'a, 'i>(list: Node<'a, 'i>) -> Vec<Node<'a, 'i>> {
    list.children().filter(|it| matches!(it.tag_name().name(), "item" | "member")).collect()
}

/// The tags of a resource, in either spelling.
pub(super) fn tags(node: Node<'_, '_>) -> BTreeMap<String, String> {
    let Some(set) = child(node, "tagSet").or_else(|| child(node, "Tags")) else {
        return BTreeMap::new();
    };
    let pair = |tag: Node<'_, '_>| {
        let key = text(tag, &["key"]).or_else(|| text(tag, &["Key"]))?;
        let value = text(tag, &["value"]).or_else(|| text(tag, &["Value"]));
        Some((key, value.unwrap_or_default()))
    };
    items(set).into_iter().filter_map(pair).collect()
}

/// What asks for the next page, if there is one.
pub(super) fn next_page(root: Node<'_, '_>) -> Option<String> {
    let token = |name| find(root, name).and_then(|it| text(it, &[]));
    token("nextToken").or_else(|| token("Marker"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_texts_and_tags_are_found_in_either_spelling() {
        let document = parse(
            "<R xmlns=\"http://ec2.example/doc/\"><set><item><a> x </a><b/>\
             <tagSet><item><key>k</key><value/></item></tagSet></item></set>\
             <nextToken>n</nextToken></R>",
        )
        .expect("a document");
        let items = list(document.root(), "set");
        assert_eq!(items.len(), 1);
        assert_eq!(text(items[0], &["a"]).as_deref(), Some("x"));
        assert_eq!(text(items[0], &["b"]), None);
        assert_eq!(tags(items[0]), [("k".to_owned(), String::new())].into());
        assert_eq!(next_page(document.root()).as_deref(), Some("n"));
        let other = parse("<R><Tags><member><Key>k</Key><Value>v</Value></member></Tags></R>");
        let other = other.expect("a document");
        assert_eq!(tags(other.root_element())["k"], "v");
        assert_eq!(next_page(other.root()), None);
    }

    #[test]
    fn what_is_no_document_or_defines_entities_is_refused_without_an_echo() {
        for text in ["s3cr3t", "<a>s3cr3t", "<!DOCTYPE a [<!ENTITY b \"s3cr3t\">]><a>&b;</a>"] {
            let failure = parse(text).expect_err(text);
            assert!(!failure.message.contains("s3cr3t") && failure.remedy.is_some(), "{failure}");
        }
    }
}
