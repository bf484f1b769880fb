//! What one attribute of a resource says, for whoever decides about it by more than its claims.

use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::Decoded;
use crate::claims::text_of;
use crate::decode::Content;

impl Decoded {
    /// An attribute's text of the resource to which a claim belongs, by the claim's place; `None` where it says nothing. Of
    /// one that comes twice the first counts. Remote write has no resources: there it is `unnamed`.
    pub fn attribute(&self, place: usize, name: &str, unnamed: Option<String>) -> Option<String> {
        let resource = match &self.content {
            Content::Metrics(resources) => resources.get(place).and_then(|found| found.resource.as_ref()),
            Content::Logs(resources) => resources.get(place).and_then(|found| found.resource.as_ref()),
            Content::Spans(resources) => resources.get(place).and_then(|found| found.resource.as_ref()),
            Content::Series(_) => return unnamed,
        };
        attribute_of(resource?, name)
    }
}

fn attribute_of(resource: &Resource, name: &str) -> Option<String> {
    let attribute = resource.attributes.iter().find(|attribute| attribute.key == name)?;
    attribute.value.as_ref().and_then(|value| value.value.as_ref()).and_then(text_of)
}
