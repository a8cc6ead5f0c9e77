"""moto's server, taught that `$DEFAULT` names a document's default version, as the page "GetDocument" has it."""

import sys

from moto.server import main
from moto.ssm.models import Documents

find = Documents.find


def find_with_default(self, document_version=None, version_name=None, strict=True):
    wanted = self.default_version if document_version == "$DEFAULT" else document_version
    return find(self, wanted, version_name, strict)


Documents.find = find_with_default
main(sys.argv[1:])
